/* The mutual proof: the first four messages inside the WebSocket, each a typed record (base/wire.h). Inside the room.
 *
 *     lower → upper   hello     versions, public key, nonce, view, name, what it knows of the store
 *     upper → lower   answer    version, public key, nonce, store, time, signature of U
 *     lower → upper   proof     signature of L, join token
 *     upper → lower   welcome   in (with the assigned name), or the reason why not
 *
 * transcript = SHA-256("sampan uplink 1" ‖ len ‖ hello ‖ len ‖ answer without signature ‖ exporter)
 * U signs "upper" ‖ transcript, L signs "lower" ‖ transcript ‖ SHA-256(token). The exporter (32 bytes) is there when hello says bound.
 */
#pragma once
#include "base/wire.h"
#include "crypto/hash.h"
#include "crypto/key.h"

#define PROOF_NONCE 32
struct up_hello {
    uint64_t version_min, version_max;
    struct str public_key, nonce, view, name, info, store_uid;
    int64_t epoch, rev;
    bool bound;
    uint64_t idle_ms; /* how long the lower side may say nothing; 0: it does not say (older ones) */
};
struct up_answer { uint64_t version; struct str public_key, nonce, store_uid; int64_t epoch, now; struct str signature; };
struct up_proof { struct str signature, token; };
struct up_welcome { uint64_t code; struct str message, name; };
extern const struct wire_type up_hello_type, up_answer_type, up_proof_type, up_welcome_type;

/* Both sides compute the same; answer's signature is left out of it. */
void proof_transcript(struct str hello, const struct up_answer *answer, struct str exporter, unsigned char out[32]);
int proof_sign_upper(const struct key *k, const unsigned char transcript[32], unsigned char sig[KEY_SIGNATURE], struct err **e) _must_check_;
int proof_sign_lower(const struct key *k, const unsigned char transcript[32], struct str token, unsigned char sig[KEY_SIGNATURE], struct err **e) _must_check_;
bool proof_check_upper(const struct key *k, const unsigned char transcript[32], struct str sig);
bool proof_check_lower(const struct key *k, const unsigned char transcript[32], struct str token, struct str sig);
