//! The error tables of all providers, printed, and checked for rows that no answer can reach.

use super::super::table::{Row, Said, Table};
use crate::providers::{flux, kling, pollo, replicate, tuzi};

const SUBMITS: [Table; 6] = [
    kling::errors::TABLE,
    kling::errors::RELAY_TABLE,
    pollo::errors::TABLE,
    replicate::errors::TABLE,
    flux::errors::TABLE,
    tuzi::errors::TABLE,
];

const FAILURES: [Table; 4] =
    [kling::errors::FAILURES, pollo::errors::FAILURES, replicate::errors::FAILURES, flux::errors::FAILURES];

/// An answer that is nothing but what the row describes.
fn example(row: &Row) -> Said {
    Said { status: row.status, ..Said::default() }.saying(row.code.map(str::to_owned), row.text)
}

#[test]
fn every_row_names_its_source_and_can_be_reached() {
    for table in SUBMITS.iter().chain(&FAILURES) {
        for row in table.rows {
            assert!(!row.source.is_empty() && !row.means.is_empty());
            let found = table.find(&example(row)).unwrap();
            assert!(std::ptr::eq(found, row), "{}: {row:?} is hidden by {found:?}", table.provider);
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each documented error")]
fn every_table_in_full() {
    let line = |row: &Row| {
        let said = row.code.or(row.text).unwrap_or("-");
        format!("  {} {said}: {} {:?}\n", row.status, row.error.as_str(), row.then)
    };
    let print = |table: &Table| format!("{}\n{}", table.provider, table.rows.iter().map(line).collect::<String>());
    insta::assert_snapshot!(SUBMITS.iter().chain(&FAILURES).map(print).collect::<String>(), @r#"
    kling
      401 1000: AUTHENTICATION_FAILED Final
      401 1001: AUTHENTICATION_FAILED Final
      401 1002: AUTHENTICATION_FAILED Final
      401 1003: AUTHENTICATION_FAILED RetryUnbilled
      401 1004: AUTHENTICATION_FAILED RetryUnbilled
      429 1100: AUTHENTICATION_FAILED Final
      429 1101: QUOTA_EXCEEDED Final
      429 1102: QUOTA_EXCEEDED Final
      403 1103: AUTHENTICATION_FAILED Final
      400 1200: INVALID_REQUEST Final
      400 1201: INVALID_REQUEST Unclear
      400 1201: INVALID_REQUEST Unclear
      400 1201: INVALID_REQUEST Final
      404 1202: INVALID_REQUEST Final
      404 1203: INVALID_REQUEST Final
      400 1300: CONTENT_FILTERED Final
      400 1301: CONTENT_FILTERED Final
      429 1302: RATE_LIMITED Throttled
      429 1303: RATE_LIMITED Throttled
      429 1304: AUTHENTICATION_FAILED Final
      500 5000: PROVIDER_ERROR Unclear
      503 5001: PROVIDER_ERROR RetryUnbilled
      504 5002: PROVIDER_ERROR Unclear
    kling relay
      400 parallel task over resource pack: RATE_LIMITED Throttled
      400 account balance not enough: QUOTA_EXCEEDED Final
      400 resource pack: QUOTA_EXCEEDED Final
      403 quota: QUOTA_EXCEEDED Final
      402 balance: QUOTA_EXCEEDED Final
      400 already exist: INVALID_REQUEST Unclear
      400 content security: CONTENT_FILTERED Final
      400 risk control: CONTENT_FILTERED Final
      429 -: RATE_LIMITED Throttled
    pollo
      500 INTERNAL_SERVER_ERROR: PROVIDER_ERROR Unclear
      504 TIMEOUT: PROVIDER_ERROR Unclear
      400 credit: QUOTA_EXCEEDED Final
      401 UNAUTHORIZED: AUTHENTICATION_FAILED Final
      403 FORBIDDEN: AUTHENTICATION_FAILED Final
      400 BAD_REQUEST: INVALID_REQUEST Final
      404 NOT_FOUND: INVALID_REQUEST Final
      429 TOO_MANY_REQUESTS: RATE_LIMITED Throttled
      401 -: AUTHENTICATION_FAILED Final
      403 -: AUTHENTICATION_FAILED Final
      400 -: INVALID_REQUEST Final
      404 -: INVALID_REQUEST Final
      429 -: RATE_LIMITED Throttled
      500 -: PROVIDER_ERROR Unclear
    replicate
      400 -: INVALID_REQUEST Final
      401 -: AUTHENTICATION_FAILED Final
      402 -: QUOTA_EXCEEDED Final
      403 -: AUTHENTICATION_FAILED Final
      404 -: INVALID_REQUEST Final
      422 -: INVALID_REQUEST Final
      429 -: RATE_LIMITED Throttled
      500 -: PROVIDER_ERROR Unclear
      502 -: PROVIDER_ERROR Unclear
      503 -: PROVIDER_ERROR Unclear
      504 -: PROVIDER_ERROR Unclear
    flux
      400 -: INVALID_REQUEST Final
      401 -: AUTHENTICATION_FAILED Final
      402 -: QUOTA_EXCEEDED Final
      403 -: AUTHENTICATION_FAILED Final
      404 -: INVALID_REQUEST Final
      422 -: INVALID_REQUEST Final
      429 -: RATE_LIMITED Throttled
      500 -: PROVIDER_ERROR Unclear
      502 -: PROVIDER_ERROR Unclear
      503 -: PROVIDER_ERROR Unclear
    tuzi
      403 insufficient_user_quota: QUOTA_EXCEEDED Final
      429 insufficient_quota: QUOTA_EXCEEDED Final
      400 content_policy_violation: CONTENT_FILTERED Final
      400 moderation_blocked: CONTENT_FILTERED Final
      401 invalid_api_key: AUTHENTICATION_FAILED Final
      404 model_not_found: INVALID_REQUEST Final
      400 quota: QUOTA_EXCEEDED Final
      400 insufficient balance: QUOTA_EXCEEDED Final
      400 content policy: CONTENT_FILTERED Final
      400 moderat: CONTENT_FILTERED Final
      400 nsfw: CONTENT_FILTERED Final
      400 sensitive: CONTENT_FILTERED Final
      400 -: INVALID_REQUEST Final
      401 -: AUTHENTICATION_FAILED Final
      402 -: QUOTA_EXCEEDED Final
      403 -: AUTHENTICATION_FAILED Final
      404 -: INVALID_REQUEST Final
      410 -: INVALID_REQUEST Final
      422 -: INVALID_REQUEST Final
      429 -: RATE_LIMITED Throttled
      500 -: PROVIDER_ERROR Unclear
      502 -: PROVIDER_ERROR Unclear
      503 -: PROVIDER_ERROR Unclear
      504 -: PROVIDER_ERROR Unclear
    kling
      200 risk control: CONTENT_FILTERED Final
      200 content security: CONTENT_FILTERED Final
      200 sensitive: CONTENT_FILTERED Final
      200 moderat: CONTENT_FILTERED Final
      200 policy: CONTENT_FILTERED Final
      200 nsfw: CONTENT_FILTERED Final
    pollo
      200 nsfw: CONTENT_FILTERED Final
      200 sensitive: CONTENT_FILTERED Final
      200 moderat: CONTENT_FILTERED Final
      200 policy: CONTENT_FILTERED Final
      200 violat: CONTENT_FILTERED Final
      200 prohibited: CONTENT_FILTERED Final
    replicate
      200 e1001: TASK_FAILED Final
      200 e4875: INVALID_REQUEST Final
      200 nsfw: CONTENT_FILTERED Final
      200 flagged: CONTENT_FILTERED Final
      200 sensitive: CONTENT_FILTERED Final
      200 e1000: PROVIDER_ERROR Final
      200 code: pa: PROVIDER_ERROR Final
    flux
      200 Request Moderated: CONTENT_FILTERED Final
      200 Content Moderated: CONTENT_FILTERED Final
      200 content policy: CONTENT_FILTERED Final
      200 content_policy: CONTENT_FILTERED Final
      200 Error: TASK_FAILED Final
      200 Failed: TASK_FAILED Final
    "#);
}
