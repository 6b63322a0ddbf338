// SPDX-License-Identifier: Apache-2.0
// Any bytes as a message to both decoders: a length that does not fit is refused as such, and only that; and no message is
// both a request and a response.
#include <chiral/wire.hpp>
#include "properties.hpp"

#include <optional>

namespace chiral::fuzz {

namespace {

template <class Decode>
std::optional<std::string> refusal_of(Decode decode) {
    try {
        decode();
        return std::nullopt;
    } catch (const wire::DecodeError& error) {
        require_presentable(error.what());
        return error.what();
    }
}

}  // namespace

void frame(Bytes bytes) {
    wire::Limits limits;
    limits.max_header_bytes = 1 << 10;  // within the reach of small inputs
    static wire::Request request;
    static wire::Response response;
    const auto as_request = refusal_of([&] { wire::decode_request(bytes, request, limits); });
    const auto as_response = refusal_of([&] { wire::decode_response(bytes, response, limits); });
    require(as_request || as_response, "no message is both a request and a response");

    bool fits = bytes.size() >= 4;
    if (fits) {
        std::size_t length = 0;
        for (unsigned i = 0; i < 4; ++i) length |= static_cast<std::size_t>(bytes[i]) << 8 * i;
        fits = length <= limits.max_header_bytes && length <= bytes.size() - 4;
    }
    for (const auto& refusal : {as_request, as_response}) {
        if (!refusal) require(fits, "a header length that does not fit is refused");
        else require(refusal->starts_with("frame: ") != fits, "a frame is refused for its header length only", *refusal);
    }
}

}  // namespace chiral::fuzz
