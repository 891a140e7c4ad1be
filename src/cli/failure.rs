//! Why a verb ends badly: exit code, stable code, what happened, what to do.

use crate::client;

/// Exit codes of the contract.
pub(super) mod exit {
    /// Done.
    pub(crate) const DONE: u8 = 0;
    /// Failed otherwise.
    pub(crate) const FAILED: u8 = 1;
    /// Wrong usage.
    pub(crate) const USAGE: u8 = 2;
    /// 404 or 410.
    pub(crate) const MISSING: u8 = 3;
    /// 409.
    pub(crate) const CONFLICT: u8 = 4;
    /// Server not reachable, 429, 503, 507.
    pub(crate) const AWAY: u8 = 5;
    /// The waited job ended FAILED, CANCELLED or COMPLETED_WITH_ERRORS.
    pub(crate) const JOB_FAILED: u8 = 6;
    /// 401 or 403.
    pub(crate) const DENIED: u8 = 7;
    /// A check failed.
    pub(crate) const CHECK: u8 = 8;
    /// Time-out of a wait.
    pub(crate) const TIMEOUT: u8 = 124;
    /// Interrupted.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A verb that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Exit code.
    pub(super) exit: u8,
    /// Stable code, shown in brackets.
    pub(super) code: String,
    /// What happened.
    pub(super) what: String,
    /// What to do.
    pub(super) help: Option<String>,
}

/// What a verb ends with: an exit code, or the failure to show.
pub(super) type Verdict = Result<u8, Failure>;

impl Failure {
    /// A failure with exit code 1.
    #[must_use]
    pub(super) fn new(code: &str, what: impl Into<String>) -> Self {
        Self { exit: exit::FAILED, code: code.to_owned(), what: what.into(), help: None }
    }

    /// Wrong usage.
    #[must_use]
    pub(super) fn usage(what: impl Into<String>) -> Self {
        Self::new("usage", what).exit(exit::USAGE)
    }

    /// A file or directory that cannot be used.
    #[must_use]
    pub(super) fn io(what: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let helps = [
            (ErrorKind::NotFound, "look at the spelling of the path"),
            (ErrorKind::PermissionDenied, "look at who may read and write there"),
            (ErrorKind::StorageFull, "free space on that disk"),
        ];
        let known = helps.iter().find(|(kind, _)| *kind == error.kind());
        let help = known.map_or("`kwq doctor` looks for what is wrong with this machine", |h| h.1);
        Self::new("io", format!("{what}: {error}")).help(help)
    }

    /// Ends with another code.
    #[must_use]
    pub(super) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// Says what to do.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `error[CODE]: what` and `help: what to do`.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let help = self.help.as_ref().map(|help| format!("\nhelp: {help}"));
        format!("error[{}]: {}{}", self.code, self.what, help.unwrap_or_default())
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let what = error.to_string();
        match error {
            client::Error::BadUrl(..) => Self::usage(what).help("set --url or KWQ_URL"),
            client::Error::Setup(_) => Self::new("client", what),
            client::Error::DryRun(_) => Self::new("dry_run", what).exit(exit::DONE),
            client::Error::Unreachable { .. } => Self::new("unreachable", what)
                .exit(exit::AWAY)
                .help("start one with `kwq dev`, or point --url (KWQ_URL) at a running server"),
            client::Error::Timeout { .. } => Self::new("timeout", what)
                .exit(exit::AWAY)
                .help("raise --timeout, or look at `kwq healthcheck`"),
            client::Error::Broken { .. } => Self::new("broken", what)
                .exit(exit::AWAY)
                .help("it is not known whether the call was applied; look before repeating it"),
            client::Error::BadAnswer(_) => Self::new("bad_answer", what)
                .help("is this a kwq server of the same release? try `kwq doctor`"),
            client::Error::Refused(problem) => refused(*problem),
        }
    }
}

fn refused(problem: client::Problem) -> Failure {
    let exit = match problem.status {
        404 | 410 => exit::MISSING,
        409 => exit::CONFLICT,
        401 | 403 => exit::DENIED,
        429 | 503 | 507 => exit::AWAY,
        _ => exit::FAILED,
    };
    let what = match &problem.field {
        Some(field) => format!("{}: {}", field, problem.detail),
        None => problem.detail,
    };
    let help = problem.hint.unwrap_or_else(|| match exit {
        exit::DENIED => "give a token with the right role by --token or KWQ_TOKEN".to_owned(),
        exit::AWAY => "the server is busy or not ready; try again in a moment".to_owned(),
        _ => format!("`kwq help {}` tells more", problem.code),
    });
    Failure { exit, code: problem.code, what, help: Some(help) }
}
