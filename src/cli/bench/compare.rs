//! The same load with affinity on and off, in turn on two servers of one run, so that both see the
//! same minute of the same machine.

use super::server::{Server, Spawn};
use super::{Bench, broken};
use crate::cli::failure::Failure;
use crate::sim::keys::Fits;
use crate::sim::report::ProcessUse;
use crate::sim::workload::{Phase, Run};
use serde::Serialize;
use std::io;
use std::net::SocketAddr;

/// What switches affinity off.
const OFF: &str = "affinity.head-every=1";

/// Life cycles with affinity against the same without.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compared {
    /// Tasks per second with affinity, over all rounds.
    pub(super) on_per_second: f64,
    /// The same without.
    pub(super) off_per_second: f64,
    /// On ÷ off.
    pub(super) ratio: f64,
    /// On ÷ off of each round.
    pub(super) rounds: Vec<f64>,
    /// What a task costs the server with affinity, µs on a core, the fill of --depth included.
    pub(super) on_cpu_us: f64,
    /// The same without.
    pub(super) off_cpu_us: f64,
    /// Off ÷ on: the ratio of the rates a machine without anything else to do would show.
    pub(super) cpu_ratio: f64,
    /// With affinity.
    pub(super) fits: Fits,
}

impl Bench<'_> {
    /// Runs the rounds; which side goes first alternates.
    pub(super) async fn compare(&mut self) -> Result<(), Failure> {
        let data_dir = self.directory.join("data-off");
        let durability = self.args.durability.clone();
        let sets = self.args.set.iter().cloned().chain([OFF.to_owned()]).collect();
        let off = Server::start(Spawn { data_dir: data_dir.clone(), durability, sets }).await?;
        let pids = [self.pid(), Some(off.pid())];
        let cpu_ms = || pids.map(|pid| pid.and_then(ProcessUse::of).map_or(0, |used| used.cpu_ms));
        let before = cpu_ms();
        let compared = self.rounds(self.addr, off.addr()).await.map(|(mut compared, tasks)| {
            let spent = |side: usize| (cpu_ms()[side] - before[side]) as f64 * 1e3;
            let each = |side: usize| spent(side) / tasks[side].max(1) as f64;
            (compared.on_cpu_us, compared.off_cpu_us) = (each(0), each(1));
            compared.cpu_ratio = each(1) / f64::max(each(0), 1e-9);
            compared
        });
        off.stop();
        if !self.args.keep {
            std::fs::remove_dir_all(&data_dir)
                .map_err(|error| Failure::io("cannot remove the data", &error))?;
        }
        self.report.compared = Some(compared.map_err(|e| broken("comparing", &e))?);
        Ok(())
    }

    /// What was measured and the tasks of each side.
    async fn rounds(
        &mut self,
        on: SocketAddr,
        off: SocketAddr,
    ) -> io::Result<(Compared, [u64; 2])> {
        let mut compared = Compared::default();
        // With affinity first, as everywhere here.
        let (mut tasks, mut seconds, mut hits, mut misses) = ([0u64; 2], [0.0; 2], 0, 0);
        for round in 0..self.args.affinity_rounds {
            self.context.out.note(&format!("round {} …", round + 1));
            let mut rates = [0.0; 2];
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let (run, phase) = self.life([on, off][side]).await?;
                rates[side] = phase.per_second;
                tasks[side] += phase.tasks;
                seconds[side] += phase.seconds;
                if side == 0 {
                    let fits = run.fits().await?;
                    (hits, misses) = (hits + fits.hits, misses + fits.misses);
                }
                self.report.books.push(run.books(false));
            }
            compared.rounds.push(rates[0] / f64::max(rates[1], 1e-9));
        }
        let rate = |side: usize| tasks[side] as f64 / f64::max(seconds[side], 1e-9);
        (compared.on_per_second, compared.off_per_second) = (rate(0), rate(1));
        compared.ratio = rate(0) / f64::max(rate(1), 1e-9);
        compared.fits = Fits::new(hits, misses);
        Ok((compared, tasks))
    }

    async fn life(&self, addr: SocketAddr) -> io::Result<(Run, Phase)> {
        let run = Run::new(self.plan("ratio", self.args.depth, addr));
        if self.args.depth > 0 {
            run.fill().await?;
        }
        let phase = run.lifecycle().await?;
        Ok((run, phase))
    }
}
