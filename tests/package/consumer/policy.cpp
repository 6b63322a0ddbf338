// SPDX-License-Identifier: Apache-2.0
// The policy side alone. There is no robot: what it gets is a clear error.
#include <chiral/client.hpp>
#include <chiral/version.hpp>
#include <chiral/wire.hpp>

#include <cstdio>
#include <stdexcept>
#include <vector>

static_assert(CHIRAL_VERSION_MAJOR == 0 && CHIRAL_VERSION_MINOR >= 1);

int main() {
    std::vector<std::uint8_t> message;
    chiral::wire::encode_request(chiral::wire::RequestType::obs_request, message);
    chiral::wire::Request request;
    chiral::wire::decode_request(message, request);
    if (request.type != chiral::wire::RequestType::obs_request) return 1;
    chiral::ClientOptions options;
    options.connect_timeout = std::chrono::milliseconds(1);
    chiral::PolicyClient client("ws://127.0.0.1:1", options);
    try {
        client.connect();
    } catch (const chiral::ConnectionError&) {
        std::puts("policy: ok, chiral " CHIRAL_VERSION);
        return 0;
    }
    return 2;
}
