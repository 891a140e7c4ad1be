//! Checks of any log, and their kit.

#[path = "../it/log_contract/checks.rs"]
pub(crate) mod checks;
#[expect(dead_code, reason = "the kit also opens embedded logs")]
#[path = "../it/log_contract/kit.rs"]
pub(crate) mod kit;
