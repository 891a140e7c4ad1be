//! Floor 3: actix shells that move bytes between the API, the pure core and the log. No decisions here.

pub mod handle;
pub mod request;
