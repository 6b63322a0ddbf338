// SPDX-License-Identifier: Apache-2.0
// Any bytes as metadata to the client: refused with a text, or decoded to what our encoder writes and what decodes to the
// same again.
#include <chiral/wire.hpp>
#include "properties.hpp"
#include "wire/utf8.hpp"

#include <algorithm>
#include <vector>

namespace chiral::fuzz {

void metadata_response(Bytes bytes) {
    static wire::Response reused;  // holds what the inputs before have left
    wire::Response fresh;
    std::string refusal;
    const auto decode = [&](wire::Response& out) {
        refusal.clear();
        try {
            wire::decode_response(bytes, out);
        } catch (const wire::DecodeError& error) {
            refusal = error.what();
        }
    };
    require_bounded(test::count_allocations([&] { decode(fresh); }), bytes.size(), bytes.size());
    const std::string refusal_of_fresh = refusal;
    decode(reused);
    require(refusal == refusal_of_fresh, "memory that is used again changes no verdict", refusal + " / " + refusal_of_fresh);
    std::vector<std::uint8_t> message;
    if (!refusal.empty()) {
        require_presentable(refusal);
        static const InfoMap good{{"cameras", "wrist"}, {"a key with memory of its own", "a value with memory of its own"}};
        wire::encode_metadata_response(good, message);
        wire::decode_response(message, reused);
        require(reused.type == wire::ResponseType::metadata_response && reused.metadata == good,
                "a good message decodes well behind a refused one");
        return;
    }
    if (fresh.type != wire::ResponseType::metadata_response) return;  // for observation_response
    require(reused.metadata == fresh.metadata, "memory that is used again changes no value");
    require(fresh.result.info.empty() && fresh.result.obs.cameras.empty(), "metadata leaves the observation alone");
    require(fresh.metadata.size() <= wire::Limits{}.max_map_entries, "entries are within the limit");
    wire::encode_metadata_response(fresh.metadata, message);
    wire::Response again;
    wire::decode_response(message, again);
    const bool repaired = !std::all_of(fresh.metadata.begin(), fresh.metadata.end(), [](const auto& pair) {
        return wire::is_utf8(pair.first) && wire::is_utf8(pair.second);
    });
    require(repaired || again.metadata == fresh.metadata, "metadata is the same again");
}

}  // namespace chiral::fuzz
