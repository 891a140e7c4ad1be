//! Process faults on the real binary (`promises.md` section 6): kill, power cut, damage, full and
//! failing disk, freeze, second process, SIGTERM. Load and checker share no code with the product
//! and read only HTTP and `kwq log dump`; the checker is proved on synthetic histories first.
//!
//! `KWQ_TEST_SCALE=10` multiplies every count, `KWQ_TEST_SEED` repeats the choices of a run,
//! `KWQ_FAULTS_BIN` takes another binary. Heavy tests run one at a time.

#[cfg(test)]
mod checker;
#[cfg(test)]
mod checker_tests;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod f01_kill;
#[cfg(test)]
mod f02_power;
#[cfg(test)]
mod f03_damage;
#[cfg(test)]
mod f04_full;
#[cfg(test)]
mod f05_eio;
#[cfg(test)]
mod f08_process;
#[cfg(test)]
mod final_state;
#[cfg(test)]
mod fold;
#[cfg(test)]
mod history;
#[cfg(test)]
mod http;
#[cfg(test)]
mod load;
#[cfg(test)]
mod mount;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod run;
#[cfg(test)]
mod server;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod util;
#[cfg(test)]
mod worker;
