//! Tokens, roles, scopes, the audit trail: `api.md` 1.1, 3 and 15, `promises.md` 8.

mod audit;
mod kit;
mod matrix;
mod scopes;
mod tokens;
mod workers;
