// SPDX-License-Identifier: Apache-2.0
// Any bytes as a header: refused with a text, or values that hang together, can be shown, and are what another MessagePack
// decoder reads.
#include "properties.hpp"
#include "wire/values.hpp"

#include <nlohmann/json.hpp>

namespace chiral::fuzz {

namespace {

using wire::Value;

struct Seen {
    std::size_t values{0};
    std::size_t text_bytes{0};
    bool only_text_keys{true};
};

// Walks through a value as the decoders do. Reads every byte of its texts, so that AddressSanitizer sees a stray one.
void walk(const Value& value, std::size_t depth, const wire::Limits& limits, Seen& seen) {
    ++seen.values;
    const bool container = value.is_array() || value.is_map();
    require(!container || depth < limits.max_depth, "containers nest no deeper than the limit");
    require(!container || value.size <= limits.max_map_entries, "containers are no larger than the limit");
    switch (value.kind) {
        case Value::Kind::text:
        case Value::Kind::binary:
        case Value::Kind::extension:
            seen.text_bytes += std::string(value.text()).size();  // copied: reads all of it
            break;
        default: break;
    }
    const Value* end = value.first();
    const auto step = [&](const Value& element) {
        require(&element == end, "elements stand one behind the other");
        walk(element, depth + 1, limits, seen);
        end = element.next();
    };
    if (value.is_array()) value.for_each_element(step);
    if (value.is_map()) {
        value.for_each_pair([&](const Value& key, const Value& element) {
            seen.only_text_keys = seen.only_text_keys && key.is_text();
            step(key);
            step(element);
            if (key.is_text()) require(value.find(key.text()) != nullptr, "a key that is there is found");
        });
    }
    require(end == value.next(), "a container spans exactly its elements");
}

void check(Bytes bytes, const wire::Limits& limits) {
    using Json = nlohmann::json;
    const auto other_reads = [&] { return Json::from_msgpack(bytes.begin(), bytes.end(), true, false).is_object(); };
    const Value* root = nullptr;
    std::string refusal;
    const auto counted = test::count_allocations([&] {
        try {
            root = &wire::parse_header(bytes, limits);
        } catch (const wire::DecodeError& error) {
            refusal = error.what();
        }
    });
    require_bounded(counted, bytes.size(), 0);
    if (root == nullptr) {
        require_presentable(refusal);
        // The other decoder has no limits, and no keys that are not text.
        const bool beyond_a_limit = refusal.find("accepted") != std::string::npos;
        require(beyond_a_limit || !other_reads(), "what another decoder reads is read", refusal);
        return;
    }
    Seen seen;
    walk(*root, 0, limits, seen);
    require(seen.values == root->span && seen.values <= limits.max_values, "there are no more values than the limit");
    require(seen.text_bytes <= bytes.size(), "texts are not longer than the header");
    if (seen.only_text_keys) require(other_reads(), "what is read, another decoder reads");

    std::string json;
    const auto printing = test::count_allocations([&] { wire::append_json(*root, json); });
    require_bounded(printing, bytes.size(), 0);
    require(Json::accept(json), "values are shown as valid JSON", json);
    root->for_each_pair([](const Value& key, const Value& value) {
        require_presentable(wire::describe(&key));
        require_presentable(wire::describe(&value));
    });
}

}  // namespace

void header(Bytes bytes) {
    check(bytes, {});
    wire::Limits tight;
    tight.max_values = 12;
    tight.max_map_entries = 4;
    tight.max_depth = 3;
    check(bytes, tight);
}

}  // namespace chiral::fuzz
