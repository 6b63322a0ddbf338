// SPDX-License-Identifier: Apache-2.0
// What Chiral needs of Zenoh, in C: a static library of our own in Rust (src/lib.rs) on the crate `zenoh`. Not for users: it
// changes with its two callers, server/src/zenoh and server/src/client/zenoh.cpp.
//
// Errors. A function that can fail writes why into `error`, as text that ends with a zero and may be cut, and returns null or
// zero. Nothing unwinds out of it.
//
// Callbacks come on Zenoh's threads, also while the call that declared them has not returned, and, for a moment, after their
// declaration was undeclared. `drop(context)` is the end: no call follows it. It is called once, also if the declaration fails.
// A callback must not block for long: what else comes over the same link waits for it.
//
// Thread rule: any thread but those of callbacks.
#ifndef CHIRAL_ZENOH_H
#define CHIRAL_ZENOH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chiral_zenoh_session chiral_zenoh_session;
typedef struct chiral_zenoh_publisher chiral_zenoh_publisher;
typedef struct chiral_zenoh_declaration chiral_zenoh_declaration;

typedef struct {
    char* text;
    size_t size;  // of what `text` points at, not zero
} chiral_zenoh_error;

typedef struct {
    const uint8_t* data;
    size_t size;
} chiral_zenoh_bytes;

// What a callback is told. All of it is the caller's, until the callback returns.
typedef struct {
    chiral_zenoh_bytes key;
    chiral_zenoh_bytes attachment;
    const chiral_zenoh_bytes* pieces;  // the payload, in the pieces in which it came
    size_t piece_count;
    int gone;  // not zero: what had the key (a token) is there no longer
} chiral_zenoh_sample;

typedef struct {
    void (*call)(void* context, const chiral_zenoh_sample* sample);
    void (*drop)(void* context);
    void* context;
} chiral_zenoh_on_sample;

typedef struct {
    void (*call)(void* context, int matching);
    void (*drop)(void* context);
    void* context;
} chiral_zenoh_on_matching;

// A session of its own. `config` is Zenoh's configuration as JSON5; what the JSON5 file `config_file` says (null: none) counts
// instead of what stands there under the same names.
chiral_zenoh_session* chiral_zenoh_open(const char* config, const char* config_file, chiral_zenoh_error error);
// Undeclares all that was declared with it and closes its links; may take seconds if a link is stuck. The rest of what was
// declared is still to be given back.
void chiral_zenoh_close(chiral_zenoh_session* session);
// What nobody else has: text of hexadecimal digits, 32 at most and a zero behind them.
void chiral_zenoh_id(const chiral_zenoh_session* session, char id[33]);

// `drops`: under congestion its messages are lost instead of waited for.
chiral_zenoh_publisher* chiral_zenoh_publish(const chiral_zenoh_session* session, const char* key, int drops,
                                             chiral_zenoh_error error);
// Sends. Zenoh borrows the pieces, and calls released(context) on any thread when it has let go of them: once, also if
// sending fails, and possibly before this returns. `attachment` is copied. Blocks while the link is congested.
int chiral_zenoh_put(const chiral_zenoh_publisher* publisher, const chiral_zenoh_bytes* pieces, size_t piece_count,
                     chiral_zenoh_bytes attachment, void (*released)(void* context), void* context,
                     chiral_zenoh_error error);
// Whether anybody has subscribed to its key, as far as is known here.
int chiral_zenoh_matching(const chiral_zenoh_publisher* publisher);
void chiral_zenoh_unpublish(chiral_zenoh_publisher* publisher);

chiral_zenoh_declaration* chiral_zenoh_subscribe(const chiral_zenoh_session* session, const char* keys,
                                                 chiral_zenoh_on_sample on_sample, chiral_zenoh_error error);
// Called when chiral_zenoh_matching() changes.
chiral_zenoh_declaration* chiral_zenoh_watch_matching(const chiral_zenoh_publisher* publisher,
                                                      chiral_zenoh_on_matching on_matching, chiral_zenoh_error error);
// A liveliness token: others see it as long as this session lives and can be reached.
chiral_zenoh_declaration* chiral_zenoh_token(const chiral_zenoh_session* session, const char* key,
                                             chiral_zenoh_error error);
// Tokens that are there, those that come, and those that go.
chiral_zenoh_declaration* chiral_zenoh_watch_tokens(const chiral_zenoh_session* session, const char* keys,
                                                    chiral_zenoh_on_sample on_sample, chiral_zenoh_error error);
// Tokens that are there. Returns when all have been told, or the time is over.
int chiral_zenoh_find_tokens(const chiral_zenoh_session* session, const char* keys, uint64_t timeout_ms,
                             chiral_zenoh_on_sample on_sample, chiral_zenoh_error error);
void chiral_zenoh_undeclare(chiral_zenoh_declaration* declaration);

#ifdef __cplusplus
}
#endif

#endif
