//! Every bound of the system in one place; relations between them are asserted at compile time.

/// Partitions of one node or cluster.
pub const PARTITIONS_MAX: u16 = 1_024;
/// Bytes of a job id, job name, client task id, worker name.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of a worker endpoint or `source`.
pub const ENDPOINT_BYTES_MAX: usize = 256;
/// Bytes of `meta`.
pub const META_BYTES_MAX: usize = 4_096;
/// Bytes of a cancel reason.
pub const REASON_BYTES_MAX: usize = 256;
/// Bytes of `traceparent`.
pub const TRACEPARENT_BYTES_MAX: usize = 128;
/// Bytes of a worker's version text.
pub const VERSION_BYTES_MAX: usize = 64;
/// Tags of a task after the grammar was applied.
pub const TAGS_MAX: usize = 32;
/// Bytes of a tag text.
pub const TAG_TEXT_BYTES_MAX: usize = 4_096;
/// Bytes of a tag key.
pub const TAG_KEY_BYTES_MAX: usize = 64;
/// Bytes of a tag value or bare tag.
pub const TAG_VALUE_BYTES_MAX: usize = 128;
/// Values of a tag key that are counted one by one, by default; in each partition.
pub const TAG_VALUES: usize = 1_000;
/// The same, at most.
pub const TAG_VALUES_MAX: usize = 10_000;
/// Tag keys of a job that are counted, by default; in each partition.
pub const TAG_KEYS: usize = 64;
/// The same, at most.
pub const TAG_KEYS_MAX: usize = 1_000;
/// Ceiling of `affinity.head-every`.
pub const HEAD_EVERY_MAX: u16 = 1_000;
/// Affinity keys of a task.
pub const AFFINITY_TASK_MAX: usize = 8;
/// Affinity keys a worker may send.
pub const AFFINITY_WORKER_MAX: usize = 64;
/// Workers whose learned keys a partition keeps.
pub const LEARNED_WORKERS_MAX: usize = 10_000;
/// Bytes of an affinity key.
pub const AFFINITY_KEY_BYTES_MAX: usize = 128;
/// Weight of an affinity key.
pub const AFFINITY_WEIGHT_MAX: u8 = 100;
/// Bytes of a payload after decoding: default, ceiling.
pub const PAYLOAD_BYTES: usize = 256 << 10;
/// Ceiling of `limits.payload` and `limits.result`.
pub const PAYLOAD_BYTES_MAX: usize = 900 << 10;
/// Bytes of a result after decoding, default.
pub const RESULT_BYTES: usize = 64 << 10;
/// Bytes of the body of one task or verb, default.
pub const BODY_BYTES: usize = 1 << 20;
/// Bytes of a JSON array body and of an NDJSON chunk, default.
pub const BATCH_BODY_BYTES: usize = 16 << 20;
/// Items of a JSON array body and lines of an NDJSON chunk, default.
pub const BATCH_ITEMS: usize = 10_000;
/// Bytes a line of NDJSON may have beyond the payload limit.
pub const LINE_EXTRA_BYTES: usize = 16 << 10;
/// Tasks one record of an inbox topic may hold.
pub const INBOX_BATCH_TASKS: usize = 1_000;
/// Bytes of an inbox record, or of a line of it, that one dead letter keeps; a larger one is
/// several, so that each fits a record of the topic of dead letters.
pub const INBOX_PIECE_BYTES: usize = PAYLOAD_BYTES;
/// Bytes an item of an inbox has in the log beside payload, tags, `meta` and message, about: names,
/// affinity keys and what a refusal says.
pub const INBOX_ITEM_BYTES: usize = 2 << 10;
/// Bytes of inbox records that are taken in one turn, about. A record whose items need less than
/// twice as much is taken in one.
pub const INBOX_TURN_BYTES: usize = BATCH_BODY_BYTES;
/// Errors listed in an NDJSON answer.
pub const LISTED_ERRORS_MAX: usize = 1_000;
/// JSON nesting depth.
pub const JSON_DEPTH_MAX: usize = 32;
/// `max` of a consume; reports of a call; `done` of a consume.
pub const CONSUME_MAX: usize = 1_000;
/// Tokens of a heartbeat.
pub const HEARTBEAT_LEASES_MAX: usize = 10_000;
/// Longest wait of a consume or job wait, ms.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Default wait of a consume, ms.
pub const WAIT_MS: u64 = 20_000;
/// Jobs named in a consume.
pub const CONSUME_JOBS_MAX: usize = 16;
/// Payload bytes of a consume answer: default, ceiling.
pub const CONSUME_BYTES: u64 = 4 << 20;
/// Ceiling of `maxBytes`.
pub const CONSUME_BYTES_MAX: u64 = 16 << 20;
/// `targetMs` ceiling.
pub const TARGET_MS_MAX: u64 = 3_600_000;
/// Shortest and longest lease, ms.
pub const LEASE_MS_MIN: u32 = 1_000;
/// Longest lease, ms.
pub const LEASE_MS_MAX: u32 = 43_200_000;
/// Longest `timeoutSeconds` (7 days).
pub const TIMEOUT_S_MAX: u32 = 604_800;
/// Longest `runMs` of a report.
pub const RUN_MS_MAX: u64 = 604_800_000;
/// Longest back-off, `retryAfterMs`, `delayMs` of a release (1 day).
pub const BACKOFF_MS_MAX: u32 = 86_400_000;
/// Longest delay of a submit (365 days).
pub const DELAY_MS_MAX: u64 = 31_536_000_000;
/// Budgets `maxAttempts`, `maxCrashes`.
pub const BUDGET_MAX: u8 = 100;
/// Weight of a job in the fair share.
pub const WEIGHT_MAX: u16 = 1_000;
/// Longest retention of a job (365 days), ms.
pub const RETENTION_MS_MAX: u64 = 31_536_000_000;
/// Bytes of a failure message; longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 4_096;
/// Bytes of a failure class.
pub const CLASS_BYTES_MAX: usize = 64;
/// Attempts kept in the history of a task.
pub const ATTEMPTS_KEPT: usize = 100;
/// Rows of a page (`limit`).
pub const PAGE_MAX: usize = 1_000;
/// Rows of a page by default.
pub const PAGE: usize = 100;
/// Characters of a lease token.
pub const TOKEN_CHARS_MAX: usize = 64;
/// `Idempotency-Key` characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 128;
/// Memory of remembered `Idempotency-Key`s in one partition, bytes; about 800,000 requests.
pub const KEYS_BYTES_MAX: usize = 128 << 20;
/// Longest `idempotency.retention` (30 days), ms.
pub const KEY_RETENTION_MS_MAX: u64 = 2_592_000_000;
/// Slots a worker may register.
pub const SLOTS_MAX: u32 = 10_000;
/// Elements of an array.
pub const ARRAY_MAX: u64 = 100_000_000;
/// Ceiling of `limits.array`: an element's place fits 32 bits.
pub const ARRAY_CEILING: u64 = u32::MAX as u64;
/// Bytes of an array's id.
pub const ARRAY_ID_BYTES_MAX: usize = 64;
/// Values of elements are below this, so that every JSON reader keeps them exact.
pub const ARRAY_VALUE_MAX: u64 = (1 << 53) - 1;
/// Commands of one turn of a partition.
pub const TURN_COMMANDS: usize = 256;
/// Bytes of one turn of a partition.
pub const TURN_BYTES: usize = 1 << 20;
/// Appends a partition may have in flight.
pub const TICKETS_OPEN_MAX: usize = 5;
/// Commands waiting in front of a partition.
pub const CHANNEL_COMMANDS: usize = 4_096;
/// Bytes of commands waiting in front of a partition.
pub const CHANNEL_BYTES: usize = 16 << 20;
/// Largest record of the log; a batch of the largest body fits with its encoding overhead.
pub const RECORD_BYTES_MAX: usize = 48 << 20;
/// Bytes of a message between instances: a batch of the largest body, or the tasks of the largest
/// operation, with their encoding overhead.
pub const PEER_BYTES_MAX: usize = 64 << 20;
/// Calls of one instance to another that are under way at once; each has a connection.
pub const PEER_CALLS_MAX: usize = 64;
/// Connections the listener for other instances has at once; more wait in the backlog.
pub const PEER_CONNECTIONS_MAX: usize = 1_024;
/// Bytes of calls that the listener for other instances holds at once; more are refused.
pub const PEER_BODIES_BYTES_MAX: usize = 4 * PEER_BYTES_MAX;
/// Bytes of what an instance tells the others of itself: all partitions, with the longest numbers.
pub const INSTANCE_BYTES_MAX: usize = 256 << 10;
/// Tokens of a tokens file.
pub const TOKENS_MAX: usize = 1_000;
/// Bytes of a tokens file.
pub const TOKENS_FILE_BYTES_MAX: u64 = 1 << 20;
/// Scopes of a token.
pub const SCOPES_MAX: usize = 64;
/// Wrong tokens of an address within a minute; more are answered `auth_rate`.
pub const WRONG_TOKENS_MAX: u32 = 50;
/// Addresses whose wrong tokens are counted apart.
pub const WRONG_ADDRESSES_MAX: usize = 10_000;
/// Bytes of a file of the audit trail before the next one is begun.
pub const AUDIT_FILE_BYTES: u64 = 16 << 20;
/// Files of the audit trail; the oldest goes when there are more.
pub const AUDIT_FILES_MAX: usize = 64;
/// Lines of the audit trail that wait to be written.
pub const AUDIT_QUEUE_MAX: usize = 10_000;
/// Bytes of a target in a line of the audit trail; a longer one is cut.
pub const AUDIT_TARGET_BYTES_MAX: usize = 256;
/// Tasks an operation deals with at one beat of a partition; a beat is 16 ms.
pub const OPERATION_SLICE: usize = 500;
/// Tasks of one partition an operation may name; their numbers fit one record of the log.
pub const OPERATION_TASKS_MAX: usize = 8_000_000;
/// Operations that may run at once.
pub const OPERATIONS_RUNNING_MAX: usize = 64;
/// Operations a partition remembers; of more the oldest that have ended go.
pub const OPERATIONS_KEPT: usize = 1_000;
/// An operation is shown this long after its end (7 days), ms.
pub const OPERATION_SHOWN_MS: u64 = 604_800_000;
/// A partition forgets its part this long after its end, ms: later than it is shown, so that no sum
/// lacks a part.
pub const OPERATION_FORGET_MS: u64 = OPERATION_SHOWN_MS + 86_400_000;
/// References a filter of dead letters may list.
pub const FILTER_REFS_MAX: usize = 1_000;
/// What was purged is answered as purged this long (7 days), ms.
pub const PURGED_KNOWN_MS: u64 = 604_800_000;
/// Purged jobs a partition remembers by name.
pub const PURGED_JOBS_MAX: usize = 100_000;
/// Simulations that run at a time.
pub const SIMULATIONS_RUNNING_MAX: usize = 4;
/// Simulations that can still be asked for, the ended ones included.
pub const SIMULATIONS_KEPT: usize = 100;
/// Tasks of a simulation.
pub const SIMULATION_TASKS_MAX: u64 = 10_000_000;
/// Jobs of a simulation.
pub const SIMULATION_JOBS_MAX: u32 = 1_000;
/// Workers of a simulation.
pub const SIMULATION_WORKERS_MAX: u32 = 10_000;
/// Mean run time of a simulation, ms.
pub const SIMULATION_MEAN_MS_MAX: u32 = 3_600_000;
/// Affinity keys of a simulation.
pub const SIMULATION_KEYS_MAX: u32 = 100_000;
/// Events of the node are kept this long for those who come back, ms.
pub const FEED_MS: u64 = 60_000;
/// Digits of an event's id as a listener gives it back: as many as always fit into 64 bits.
pub const EVENT_ID_DIGITS_MAX: usize = 19;
/// Marks of processes in the ids of their events: the last 6 digits, behind the 13 of a time in ms.
pub const EVENT_MARKS: u64 = 1_000_000;
/// Events kept at most.
pub const FEED_EVENTS_MAX: usize = 8_192;
/// Bytes of events kept at most.
pub const FEED_BYTES_MAX: usize = 16 << 20;
/// Jobs whose change is told in a second; the same for operations.
pub const FEED_CHANGES_MAX: usize = 64;
/// Share of the connections that streams of events may take, percent.
pub const STREAMS_PERCENT: usize = 60;
/// Buckets of a wait histogram: bucket *k* counts waits whose milliseconds have *k* bits; the last
/// one is open.
pub const WAIT_BUCKETS: usize = 26;
/// Tasks of one tracker page.
pub const PAGE_TASKS: usize = 1_024;

const _: () = assert!(FEED_EVENTS_MAX as u64 > 2 * FEED_CHANGES_MAX as u64 * FEED_MS / 1_000);
const _: () = assert!(RECORD_BYTES_MAX > 2 * BATCH_BODY_BYTES);
const _: () = assert!(RECORD_BYTES_MAX > 2 * INBOX_TURN_BYTES + INBOX_PIECE_BYTES);
const _: () = assert!(
    2 * INBOX_TURN_BYTES
        > BATCH_BODY_BYTES
            + INBOX_BATCH_TASKS
                * (TAG_TEXT_BYTES_MAX + META_BYTES_MAX + MESSAGE_BYTES_MAX + INBOX_ITEM_BYTES)
);
const _: () = assert!(RECORD_BYTES_MAX > 5 * OPERATION_TASKS_MAX);
const _: () = assert!(PEER_BYTES_MAX >= RECORD_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES <= PAYLOAD_BYTES_MAX && RESULT_BYTES <= PAYLOAD_BYTES_MAX);
const _: () = assert!(BODY_BYTES >= PAYLOAD_BYTES + LINE_EXTRA_BYTES);
const _: () = assert!(INSTANCE_BYTES_MAX > 160 * PARTITIONS_MAX as usize + 8 * NAME_BYTES_MAX);
