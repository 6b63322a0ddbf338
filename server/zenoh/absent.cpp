// SPDX-License-Identifier: Apache-2.0
// In the place of the library in builds without it: no session can be opened, so that nothing else is ever called.
#include <chiral_zenoh.h>

#include <algorithm>
#include <cstring>

namespace {

void say(chiral_zenoh_error error) {
    constexpr char text[] = "this build of Chiral has no Zenoh in it, expected one with CHIRAL_ZENOH=ON";
    const std::size_t size = std::min(sizeof text, error.size);
    std::memcpy(error.text, text, size);
    error.text[size - 1] = '\0';
}

template <class Callback>
chiral_zenoh_declaration* nothing(const Callback& callback, chiral_zenoh_error error) {
    callback.drop(callback.context);
    say(error);
    return nullptr;
}

}  // namespace

extern "C" {

chiral_zenoh_session* chiral_zenoh_open(const char*, const char*, chiral_zenoh_error error) {
    say(error);
    return nullptr;
}
void chiral_zenoh_close(chiral_zenoh_session*) {}
void chiral_zenoh_id(const chiral_zenoh_session*, char id[33]) { id[0] = '\0'; }

chiral_zenoh_publisher* chiral_zenoh_publish(const chiral_zenoh_session*, const char*, int, chiral_zenoh_error error) {
    say(error);
    return nullptr;
}
int chiral_zenoh_put(const chiral_zenoh_publisher*, const chiral_zenoh_bytes*, size_t, chiral_zenoh_bytes,
                     void (*released)(void*), void* context, chiral_zenoh_error error) {
    released(context);
    say(error);
    return 0;
}
int chiral_zenoh_matching(const chiral_zenoh_publisher*) { return 0; }
void chiral_zenoh_unpublish(chiral_zenoh_publisher*) {}

chiral_zenoh_declaration* chiral_zenoh_subscribe(const chiral_zenoh_session*, const char*, chiral_zenoh_on_sample on_sample,
                                                 chiral_zenoh_error error) {
    return nothing(on_sample, error);
}
chiral_zenoh_declaration* chiral_zenoh_watch_matching(const chiral_zenoh_publisher*, chiral_zenoh_on_matching on_matching,
                                                      chiral_zenoh_error error) {
    return nothing(on_matching, error);
}
chiral_zenoh_declaration* chiral_zenoh_token(const chiral_zenoh_session*, const char*, chiral_zenoh_error error) {
    say(error);
    return nullptr;
}
chiral_zenoh_declaration* chiral_zenoh_watch_tokens(const chiral_zenoh_session*, const char*,
                                                    chiral_zenoh_on_sample on_sample, chiral_zenoh_error error) {
    return nothing(on_sample, error);
}
int chiral_zenoh_find_tokens(const chiral_zenoh_session*, const char*, uint64_t, chiral_zenoh_on_sample on_sample,
                             chiral_zenoh_error error) {
    nothing(on_sample, error);
    return 0;
}
void chiral_zenoh_undeclare(chiral_zenoh_declaration*) {}

}  // extern "C"
