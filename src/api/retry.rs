//! Which requests are retried, and after which wait. This depends on the status and the error type, never on text.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::error::LONGEST_RETRY_AFTER;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Whether a request that was answered with this status may succeed later.
pub fn status_may_pass(status: u16) -> bool {
    // 408 timeout, 409 conflict, 429 rate limit, 5xx the server's fault, 529 overloaded.
    matches!(status, 408 | 409 | 429 | 500..)
}

/// Whether a request may succeed later that ended with an error of this type in its stream
/// (<https://docs.anthropic.com/en/api/errors>). The server had begun to answer, so an unknown one is its own fault.
pub fn kind_may_pass(kind: &str) -> bool {
    let is_final = matches!(
        kind,
        "invalid_request_error"
            | "authentication_error"
            | "billing_error"
            | "permission_error"
            | "not_found_error"
            | "request_too_large"
    );
    !is_final
}

/// How long to wait after so many failures in a row: twice as long each time, less a random part of up to a quarter,
/// so that many clients do not come back together. If the server asked for more, that, up to a minute; if it asked
/// for less, it does not know how many others it has asked.
pub fn wait(failures: u32, asked: Option<Duration>) -> Duration {
    let chance = f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST_WAIT).mul_f64(1.0 - chance / 4.0);
    asked.map_or(wait, |asked| asked.min(LONGEST_RETRY_AFTER).max(wait))
}

/// Reads the header `retry-after`: seconds or a date (RFC 9110, 10.2.3). Returns None if it is neither.
pub fn retry_after(value: &str) -> Option<Duration> {
    // With serde_json, which is there anyway: the parser of the standard library takes another 12 KB.
    if let Ok(seconds) = serde_json::from_str::<f64>(value.trim()) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        for (failures, longest) in [(1, 0.5), (2, 1.0), (5, 8.0), (9, 30.0), (99, 30.0)] {
            let wait = wait(failures, None).as_secs_f64();
            assert!(wait <= longest && wait >= longest * 0.75, "{failures}: {wait}");
        }
        assert_eq!(wait(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(wait(1, Some(Duration::from_secs(3600))), LONGEST_RETRY_AFTER);
        for (failures, shortest) in [(1, 0.375), (5, 6.0)] {
            assert!(wait(failures, Some(Duration::ZERO)).as_secs_f64() >= shortest, "{failures}");
        }
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        assert!(retry_after(&soon).is_some_and(|wait| wait.as_secs() >= 28));
        for nonsense in ["", "-1", "soon", "NaN", "1e99"] {
            assert_eq!(retry_after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let again: Vec<u16> = (200..600).filter(|status| status_may_pass(*status)).collect();
        assert_eq!(again[..3], [408, 409, 429]);
        assert_eq!(again[3..], (500..600).collect::<Vec<u16>>());
        assert!(kind_may_pass("overloaded_error") && kind_may_pass("upstream_error"));
        assert!(!kind_may_pass("invalid_request_error"));
    }
}
