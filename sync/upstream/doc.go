// Package upstream forwards the log to a Kafka cluster at the centre: every partition of the chosen topics, with keys,
// headers and timestamps as they are, to topics whose names come from a template.
//
// # What holds
//
// At least once. A position is the first offset of a partition that the centre has not confirmed; it advances over a
// contiguous prefix only, and is stored at intervals and when the forwarder stops. After a crash no more is sent again
// than was confirmed since the last store, and what was on its way.
//
// In order, per partition and key. A key leads to one partition at the centre (murmur2, as Java's clients have it), and
// the idempotent producer keeps a partition's records in order under retries. When the centre fails a record for good,
// everything the producer had queued behind it for the same central partition fails too; the forwarder then stops
// reading that source partition until nothing of it is on its way, and begins again at the first unconfirmed record.
// What is known to have arrived in order is not sent twice; what overtook the failed record is sent again behind it.
// Records without a key go to whatever partition a batch is being filled for, as everywhere in Kafka, and have no order.
//
// Bounded memory. One budget of bytes holds all records that are on their way; a partition may hold no more than what is
// free, so a partition that does not move leaves room for the others. Everything else is read from the log when there
// is room. A partition at rest costs its entry and no goroutine.
//
// # What the centre may refuse
//
// A centre that is away, slow, electing leaders or out of quota is waited for, as long as the disk lasts. What retention
// then takes before it was sent is counted as lost, per topic, and logged.
//
// A topic that is missing and may not be created, that may not be written to, or any error that somebody at the centre
// can put right, holds the partition: it is tried again, ever less often, and reported as held, with the error.
//
// A record that the centre refuses for what it is (too large, invalid, with a timestamp out of bounds) is found by
// sending ever fewer records at a time through a producer of its own, until it fails alone. It would be refused again
// for as long as it exists, and the records behind it are worth more than itself: by default it is counted as refused,
// logged with its offset, and passed over; it stays in the local log until retention takes it. With Refused = "hold" the
// partition waits in front of it instead.
//
// # Positions
//
// Positions live behind the interface Positions. The forwarder hands over positions that are safe to continue from and
// asks for them when a partition appears; where they are kept is not its business.
package upstream
