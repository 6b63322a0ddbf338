// SPDX-License-Identifier: Apache-2.0
#include "wire/want.hpp"

#include "wire/fields.hpp"
#include "wire/values.hpp"
#include "wire/words.hpp"
#include "wire/writer.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace chiral::wire {

namespace {

constexpr const char* kMessage = "obs_request: want";

Where camera_named(std::string_view name) noexcept { return {kMessage, "camera", name}; }

const Value* map_or_none(const Where& where, const Value& map, const char* key, std::size_t most) {
    const Value* value = given(map, key);
    if (value == nullptr) return nullptr;
    if (!value->is_map()) fail(where, key, value, "a map");
    if (value->size > most)
        fail(where, std::string(key) + " has " + std::to_string(value->size) + " entries, at most " + std::to_string(most) +
                        " accepted");
    return value;
}

std::string number_text(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    return text;
}

// Leaves `out` where the key is missing.
void read_number(const Where& where, const Value& map, const char* key, double least, double most, double& out) {
    const Value* value = given(map, key);
    if (value == nullptr) return;
    const std::optional<double> number = value->number();
    if (!number || !(*number >= least && *number <= most))
        fail(where, key, value, "a number from " + number_text(least) + " to " + number_text(most));
    out = *number;
}

void read_integer(const Where& where, const Value& map, const char* key, int least, int most, int& out) {
    double number = out;
    read_number(where, map, key, least, most, number);
    if (number != std::floor(number)) fail(where, key, map.find(key), "a whole number");
    out = static_cast<int>(number);
}

void read_flag(const Where& where, const Value& map, const char* key, bool& out) {
    const Value* value = given(map, key);
    if (value == nullptr) return;
    if (value->kind != Value::Kind::boolean) fail(where, key, value, "true or false");
    out = value->boolean;
}

template <class Enum>
void read_word(const Where& where, const Value& map, const char* key, Enum& out) {
    const Value* value = given(map, key);
    if (value == nullptr) return;
    const std::optional<Enum> known = value->is_text() ? from_word<Enum>(value->text()) : std::nullopt;
    if (!known) fail(where, key, value, words_of<Enum>());
    out = *known;
}

void read_size(const Where& where, const Value& map, ImageSize& size, const Limits& limits) {
    const Value* value = given(map, "size");
    if (value == nullptr) return;
    const std::string expected = "[], or [H, W] of 1 to " + std::to_string(limits.max_want_side) + " pixels each, at most " +
                                 std::to_string(limits.max_want_pixels) + " together";
    if (value->is_array() && value->size == 0) {
        size = {};
        return;
    }
    if (!value->is_array() || value->size != 2) fail(where, "size", value, expected);
    std::uint64_t sides[2] = {};
    std::size_t i = 0;
    value->for_each_element([&](const Value& side) {
        if (side.kind != Value::Kind::unsigned_integer || side.unsigned_integer == 0 ||
            side.unsigned_integer > static_cast<std::uint64_t>(limits.max_want_side))
            fail(where, "a side of size", &side, expected);
        sides[i++] = side.unsigned_integer;
    });
    if (sides[0] * sides[1] > limits.max_want_pixels)
        fail(where, "size is [" + std::to_string(sides[0]) + ", " + std::to_string(sides[1]) + "], expected " + expected);
    size = {static_cast<int>(sides[0]), static_cast<int>(sides[1])};
}

void read_wish(const Where& where, const Value& map, CameraWish& wish, const Limits& limits) {
    read_size(where, map, wish.size, limits);
    read_word(where, map, "fit", wish.fit);
    read_word(where, map, "image", wish.image);
    read_integer(where, map, "quality", 1, 100, wish.quality);
    read_word(where, map, "order", wish.order);
    read_word(where, map, "depth", wish.depth);
}

void read_budget(const Value& map, WantBudget& budget) {
    const Where where{kMessage};
    read_number(where, map, "bytes_per_second", 0, 1e12, budget.bytes_per_second);
    read_number(where, map, "latency", 0, 3600, budget.latency);
    read_integer(where, map, "min_quality", 1, 100, budget.min_quality);
    read_number(where, map, "min_scale", 0.05, 1, budget.min_scale);
    read_number(where, map, "min_hz", 0.1, 1000, budget.min_hz);
}

std::vector<std::string> read_proprios(const Value& names, const Limits& limits) {
    const Where where{kMessage};
    if (!names.is_array() || names.size > limits.max_proprios)
        fail(where, "proprios", &names, "an array of at most " + std::to_string(limits.max_proprios) + " names");
    std::vector<std::string> proprios;
    names.for_each_element([&](const Value& name) {
        if (!name.is_text()) fail(where, "a name in proprios", &name, "a string");
        proprios.emplace_back(name.text());
    });
    return proprios;
}

Have read_have(const Where& where, const Value& numbers) {
    constexpr const char* expected = "two integers that are not negative, of image and depth";
    if (!numbers.is_array() || numbers.size != 2) fail(where, "have", &numbers, expected);
    std::uint64_t read[2] = {};
    std::size_t i = 0;
    numbers.for_each_element([&](const Value& number) {
        if (number.kind != Value::Kind::unsigned_integer) fail(where, "a number in have", &number, expected);
        read[i++] = number.unsigned_integer;
    });
    return {read[0], read[1]};
}

void write_wish(Writer& writer, const CameraWish& wish) {
    if (wish.size != ImageSize{}) {
        writer.text("size");
        writer.array(2);
        writer.integer(wish.size.height);
        writer.integer(wish.size.width);
    }
    writer.text("fit");
    writer.text(word(wish.fit));
    writer.text("image");
    writer.text(word(wish.image));
    writer.text("quality");
    writer.integer(wish.quality);
    writer.text("order");
    writer.text(word(wish.order));
    writer.text("depth");
    writer.text(word(wish.depth));
}

std::size_t keys_of(const CameraWish& wish) noexcept { return wish.size != ImageSize{} ? 6 : 5; }

void write_budget(Writer& writer, const WantBudget& budget) {
    writer.text("budget");
    writer.map(5);
    writer.text("bytes_per_second");
    writer.float64(budget.bytes_per_second);
    writer.text("latency");
    writer.float64(budget.latency);
    writer.text("min_quality");
    writer.integer(budget.min_quality);
    writer.text("min_scale");
    writer.float64(budget.min_scale);
    writer.text("min_hz");
    writer.float64(budget.min_hz);
}

void write_want(Writer& writer, const WantRequest& request) {
    const Want& want = request.want;
    const bool names_cameras = !want.cameras.empty();
    writer.map(keys_of(want.all) + names_cameras + want.proprios.has_value() + 2 * want.only_if_newer +
               2 * want.budget.has_value());
    write_wish(writer, want.all);
    if (names_cameras) {
        writer.text("cameras");
        writer.map(want.cameras.size());
        for (const auto& [name, wish] : want.cameras) {
            writer.text(name);
            // A size that is the camera's own must be said where `all` says another.
            writer.map(keys_of(wish) + (wish.size == ImageSize{}));
            if (wish.size == ImageSize{}) {
                writer.text("size");
                writer.array(0);
            }
            write_wish(writer, wish);
        }
    }
    if (want.proprios) {
        writer.text("proprios");
        writer.array(want.proprios->size());
        for (const std::string& name : *want.proprios) writer.text(name);
    }
    if (want.only_if_newer) {
        writer.text("only_if_newer");
        writer.boolean(true);
        writer.text("have");
        writer.map(request.have.size());
        for (const auto& [name, have] : request.have) {
            writer.text(name);
            writer.array(2);
            writer.count(have.image);
            writer.count(have.depth);
        }
    }
    if (!want.budget) return;
    write_budget(writer, *want.budget);
    writer.text("took");
    writer.float64(request.took);
}

}  // namespace

std::shared_ptr<const WantRequest> decode_want(const Value& value, const Limits& limits) {
    const Where where{kMessage};
    if (!value.is_map()) throw DecodeError("obs_request: want is " + describe(&value) + ", expected a map");
    const auto request = std::make_shared<WantRequest>();
    Want& want = request->want;
    read_wish(where, value, want.all, limits);
    if (const Value* cameras = map_or_none(where, value, "cameras", limits.max_cameras))
        cameras->for_each_pair([&](const Value& name, const Value& own) {
            if (!name.is_text()) fail(where, "a name in cameras", &name, "a string");
            const Where camera = camera_named(name.text());
            if (!own.is_map()) fail(camera, "wish", &own, "a map");
            CameraWish wish = want.all;
            read_wish(camera, own, wish, limits);
            want.cameras.emplace(name.text(), wish);  // the first counts where one is repeated
        });
    if (const Value* proprios = given(value, "proprios")) want.proprios = read_proprios(*proprios, limits);
    read_flag(where, value, "only_if_newer", want.only_if_newer);
    if (const Value* have = map_or_none(where, value, "have", limits.max_cameras))
        have->for_each_pair([&](const Value& name, const Value& numbers) {
            if (!name.is_text()) fail(where, "a name in have", &name, "a string");
            request->have.emplace(name.text(), read_have(camera_named(name.text()), numbers));
        });
    if (const Value* budget = map_or_none(where, value, "budget", limits.max_map_entries))
        read_budget(*budget, want.budget.emplace());
    read_number(where, value, "took", 0, 3600, request->took);
    return request;
}

void encode_obs_request(const WantRequest& want, std::vector<std::uint8_t>& out) {
    Writer writer = begin_frame(out);
    writer.map(2);
    writer.text("type");
    writer.text(to_string(RequestType::obs_request));
    writer.text("want");
    write_want(writer, want);
    end_header(out, writer.position(), to_string(RequestType::obs_request), "want", {});
    try {
        Request checked;
        decode_request(out, checked);
    } catch (const DecodeError& error) {
        throw std::invalid_argument(error.what());
    }
}

}  // namespace chiral::wire
