// SPDX-License-Identifier: Apache-2.0
// What a hostile or broken client may send, and what the server says to it.
#include "frames.hpp"

#include <functional>
#include <limits>

namespace chiral::test {
namespace {

void refused(const ByteVector& message, const std::string& part, const wire::Limits& limits = {}) {
    wire::Request request;
    expect_throw<wire::DecodeError>([&] { wire::decode_request(message, request, limits); }, part);
}

void accepted(const ByteVector& message) {
    wire::Request request;
    EXPECT_NO_THROW(wire::decode_request(message, request));
}

const ByteVector seven_floats(28, 0);

Json action_header() {
    return {{"type", "apply_action"}, {"shape", {7}}, {"dtype", "float32"}, {"obs_timestamps", {{"head", 12.5}}}};
}

Json with(const char* key, const Json& value) {
    Json header = action_header();
    header[key] = value;
    return header;
}

ByteVector repeated(std::size_t count, std::uint8_t byte) { return ByteVector(count, byte); }

TEST(HostileFrame, Lengths) {
    refused({}, "frame: message is 0 bytes, expected at least the 4 of the header length");
    refused({1}, "frame: message is 1 bytes");
    refused({1, 0, 0}, "frame: message is 3 bytes");
    refused({0, 0, 0, 0}, "header: ends after 0 bytes");
    refused({1, 0, 0, 0}, "frame: header of 1 bytes, but only 0 follow its length");
    refused({3, 0, 0, 0, 0x80, 0x80}, "frame: header of 3 bytes, but only 2 follow");
    refused({0xff, 0xff, 0xff, 0xff, 0x80}, "frame: header of 4294967295 bytes, at most 1048576 accepted");
    wire::Limits limits;
    limits.max_header_bytes = 8;
    refused(frame({{"type", "reset"}}), "frame: header of 12 bytes, at most 8 accepted", limits);
}

TEST(HostileHeader, IsNotOneMap) {
    refused(raw_frame({0x05}), "header: is the integer 5, expected a map");
    refused(raw_frame({0x91, 0xc0}), "header: is an array of 1, expected a map");
    refused(raw_frame({0xa1, 'x'}), "header: is the string 'x', expected a map");
    refused(raw_frame({0xc1}), "header: not MessagePack");
    refused(raw_frame({0x81}), "header: ends after 1 bytes, inside a MessagePack value");
    refused(raw_frame({0x81, 0xa4, 't', 'y'}), "header: ends after 4 bytes");
    ByteVector header = Json::to_msgpack({{"type", "reset"}});
    header.insert(header.end(), {1, 2, 3});
    refused(raw_frame(header), "header: 3 bytes of its 15 lie after the end of its map");
}

TEST(HostileHeader, AnnouncesMoreThanItHas) {
    refused(raw_frame({0xdd, 0xff, 0xff, 0xff, 0xff}), "header: an array of 4294967295, at most 4096 accepted");
    refused(raw_frame({0xdf, 0xff, 0xff, 0xff, 0xff}), "header: a map of 4294967295, at most 4096 accepted");
    refused(raw_frame({0xde, 0x10, 0x00}), "header: ends after 3 bytes");
    for (const std::uint8_t format : ByteVector{0xc6, 0xc9, 0xdb})  // bin 32, ext 32, str 32 of 4 GiB
        refused(raw_frame({0x81, format, 0xff, 0xff, 0xff, 0xff, 'x'}), "header: ends after 7 bytes");
}

TEST(HostileHeader, NestsTooDeep) {
    for (const std::size_t levels : {std::size_t{33}, std::size_t{1} << 19}) {
        refused(raw_frame(repeated(levels, 0x91)), "header: nested deeper than the 32 levels accepted");
        ByteVector maps;
        for (std::size_t i = 0; i < levels; ++i) maps.insert(maps.end(), {0x81, 0xc0});  // {nil: {nil: ...
        refused(raw_frame(maps), "header: nested deeper than the 32 levels accepted");
    }
    ByteVector header = repeated(32, 0x91);
    header.push_back(0xc0);
    refused(raw_frame(header), "header: is an array of 1, expected a map");
}

TEST(HostileHeader, HasKeysInsideKeysInsideKeys) {
    const std::string message = "header: a map inside a key of a map that is a key itself, expected text";
    refused(raw_frame({0x81, 0x81, 0x80, 0xc0, 0xc0}), message);        // {{{}: nil}: nil}
    refused(raw_frame({0x81, 0x81, 0x91, 0x80, 0xc0, 0xc0}), message);  // {{[{}]: nil}: nil}
    refused(raw_frame({0x81, 0x91, 0x81, 0x80, 0xc0, 0xc0}), message);  // {[{{}: nil}]: nil}
    ByteVector nested(30, 0x81);  // each level would double the escapes when it is shown as JSON
    nested.push_back(0xa1);
    refused(raw_frame(nested), message);
    // Not so many: a key in a key, and a map in the value of one.
    refused(raw_frame({0x81, 0x81, 0xa1, 'x', 0x81, 0xa1, 'y', 0xc0, 0xc0}), "request: type is missing");
}

TEST(HostileHeader, HoldsTooManyValues) {
    ByteVector header{0x81, 0xa4, 't', 'y', 'p', 'e', 0xdc, 0x10, 0x00};  // an array of 4096 arrays of 4096 nils
    for (int i = 0; i < 4096; ++i) {
        header.insert(header.end(), {0xdc, 0x00, 0xff});
        header.insert(header.end(), 255, 0xc0);
    }
    wire::Limits limits;
    limits.max_header_bytes = 2 << 20;
    refused(raw_frame(header), "frame: header of 1056777 bytes, at most 1048576 accepted");
    refused(raw_frame(header), "header: more than the 65536 values accepted", limits);
}

TEST(HostileHeader, DoesNotSayWhatItIs) {
    refused(frame(Json::object()), "request: type is missing, expected a string");
    refused(frame({{"type", 3}}), "request: type is the integer 3, expected a string");
    refused(frame({{"type", nullptr}}), "request: type is nil, expected a string");
    refused(frame({{"type", "hello"}}), "request: type is 'hello', expected metadata, reset, obs_request");
    refused(frame({{"type", ""}}), "request: type is ''");
    refused(frame({{"type", "obs_response"}}), "request: type is 'obs_response'");
    refused(frame({{"type", "\x1b[31m\n"}}), "request: type is '?[31m?'");
    refused(frame({{"type", std::string(1000, 'x')}}), "request: type is '" + std::string(64, 'x') + "...', expected");
}

TEST(Header, UnknownAndRepeatedKeysAreNoError) {
    accepted(frame({{"type", "reset"}, {"seed", 7}, {"options", {{"a", {1, 2, {{"b", nullptr}}}}}}}));
    // {"type": "reset", "type": 1, 7: "x", nil: nil, {}: []}
    accepted(raw_frame({0x85, 0xa4, 't', 'y', 'p', 'e', 0xa5, 'r', 'e',  's',  'e',  't', 0xa4,
                        't',  'y',  'p', 'e', 1,   7,   0xa1, 'x', 0xc0, 0xc0, 0x80, 0x90}));
}

TEST(Request, HasAPayloadOnlyWithAnAction) {
    for (const char* type : {"metadata", "reset", "obs_request"}) {
        accepted(frame({{"type", type}}));
        refused(frame({{"type", type}}, {0}), std::string(type) + ": payload is 1 bytes, expected none");
    }
}

TEST(HostileAction, Shapes) {
    accepted(frame(action_header(), seven_floats));
    accepted(frame(with("shape", {1, 7}), seven_floats));
    accepted(frame(with("shape", {7, 1}), seven_floats));
    Json none = action_header();
    none.erase("shape");
    refused(frame(none, seven_floats), "apply_action: shape is missing, expected [D] or [N, D]");
    refused(frame(with("shape", nullptr), seven_floats), "apply_action: shape is nil, expected [D] or [N, D]");
    refused(frame(with("shape", 7), seven_floats), "apply_action: shape is the integer 7, expected [D] or [N, D]");
    refused(frame(with("shape", Json::array()), seven_floats), "apply_action: shape is an array of 0, expected [D]");
    refused(frame(with("shape", {1, 1, 7}), seven_floats), "apply_action: shape is an array of 3, expected [D]");
    refused(frame(with("shape", {0}), {}), "apply_action: shape has the integer 0 at index 0, expected integers");
    refused(frame(with("shape", {0, 7}), {}), "apply_action: shape has the integer 0 at index 0");
    refused(frame(with("shape", {1, -7}), seven_floats), "apply_action: shape has the integer -7 at index 1");
    refused(frame(with("shape", {7.0}), seven_floats), "apply_action: shape has the float 7 at index 0");
    refused(frame(with("shape", {"7"}), seven_floats), "apply_action: shape has the string '7' at index 0");
    refused(frame(with("shape", {true}), seven_floats), "apply_action: shape has true at index 0");
    refused(frame(with("shape", {2147483648}), seven_floats), "shape has the integer 2147483648 at index 0");
    refused(frame(with("shape", {std::numeric_limits<std::uint64_t>::max()}), seven_floats), "has the integer 1844674");
    refused(frame(with("shape", {std::numeric_limits<std::int64_t>::min()}), seven_floats), "has the integer -922337");
    // 2^62 bytes; 2^64 bytes, which is 0 if the product overflows; one element more than accepted
    refused(frame(with("shape", {1073741824, 1073741824}), {}), "has more than the 1048576 elements accepted");
    refused(frame(with("shape", {2147483647, 2147483647}), {}), "has more than the 1048576 elements accepted");
    refused(frame(with("shape", {1048577}), {}), "shape [1048577] has more than the 1048576 elements accepted");
}

TEST(HostileAction, PayloadLengths) {
    refused(frame(action_header(), ByteVector(24)), "apply_action: payload is 24 bytes, shape [7] float32 needs 28");
    refused(frame(action_header(), ByteVector(27)), "apply_action: payload is 27 bytes, shape [7] float32 needs 28");
    refused(frame(action_header(), ByteVector(29)), "apply_action: payload is 29 bytes, shape [7] float32 needs 28");
    refused(frame(action_header(), {}), "apply_action: payload is 0 bytes, shape [7] float32 needs 28");
    refused(frame(with("shape", {1 << 20}), seven_floats), "payload is 28 bytes, shape [1048576] float32 needs 4194");
    Json legacy = with("shape", {2, 7});
    legacy["type"] = "action";
    refused(frame(legacy, seven_floats), "action: payload is 28 bytes, shape [2, 7] float32 needs 56");
}

TEST(HostileAction, Dtypes) {
    refused(frame(with("dtype", "float64"), seven_floats), "dtype is the string 'float64', expected 'float32'");
    refused(frame(with("dtype", 4), seven_floats), "apply_action: dtype is the integer 4, expected 'float32'");
    Json none = action_header();
    none.erase("dtype");
    refused(frame(none, seven_floats), "apply_action: dtype is missing, expected 'float32'");
}

TEST(HostileAction, NumbersThatAreNotFinite) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::signaling_NaN()}) {
        std::vector<float> values(7, 1.f);
        values[6] = bad;
        refused(frame(action_header(), as_bytes(values)), "apply_action: element 6 is ");
    }
    refused(frame(with("obs_timestamps", {{"head", std::numeric_limits<double>::quiet_NaN()}}), seven_floats),
            "apply_action: obs_timestamps is the float nan, expected finite numbers");
    refused(frame(with("obs_timestamps", {{"head", std::numeric_limits<double>::infinity()}}), seven_floats),
            "apply_action: obs_timestamps is the float inf, expected finite numbers");
}

TEST(HostileAction, ObservationTimes) {
    refused(frame(with("obs_timestamps", {12.5}), seven_floats), "obs_timestamps is an array of 1, expected a map");
    refused(frame(with("obs_timestamps", {{"head", "1"}}), seven_floats), "obs_timestamps is the string '1', expected");
    refused(frame(with("obs_timestamps", {{"head", true}}), seven_floats), "obs_timestamps is true, expected a number");
    refused(frame(with("obs_timestamps", {{"head", nullptr}}), seven_floats), "obs_timestamps is nil, expected");
    Json many = Json::object();
    for (int i = 0; i < 257; ++i) many["cam" + std::to_string(i)] = i;
    refused(frame(with("obs_timestamps", many), seven_floats), "obs_timestamps has 257 cameras, at most 256 accepted");
}

TEST(Action, ObservationTimesMayBeIntegersOrMissing) {
    wire::Request request;
    wire::decode_request(frame(with("obs_timestamps", {{"head", 12}, {"wrist", -3}}), seven_floats), request);
    EXPECT_EQ(request.action.obs_timestamps, (std::map<std::string, double>{{"head", 12.0}, {"wrist", -3.0}}));
    Json header = action_header();
    header.erase("obs_timestamps");
    wire::decode_request(frame(header, seven_floats), request);
    EXPECT_TRUE(request.action.obs_timestamps.empty());
}

TEST(Action, IntegersMayComeInAnyFormat) {
    const std::vector<ByteVector> sevens = {{7},
                                            {0xcc, 7},
                                            {0xcd, 0, 7},
                                            {0xce, 0, 0, 0, 7},
                                            {0xcf, 0, 0, 0, 0, 0, 0, 0, 7},
                                            {0xd0, 7},
                                            {0xd1, 0, 7},
                                            {0xd2, 0, 0, 0, 7},
                                            {0xd3, 0, 0, 0, 0, 0, 0, 0, 7}};
    for (const ByteVector& seven : sevens) {
        Json header = action_header();
        header.erase("shape");
        ByteVector bytes = Json::to_msgpack(header);
        ++bytes[0];
        const std::string shape =
            "\xa5"
            "shape"
            "\x91";
        bytes.insert(bytes.end(), shape.begin(), shape.end());
        bytes.insert(bytes.end(), seven.begin(), seven.end());
        wire::Request request;
        wire::decode_request(raw_frame(bytes, seven_floats), request);
        EXPECT_EQ(request.action.D, 7) << "format byte " << int{seven.front()};
    }
}

TEST(Action, TheFirstOfARepeatedCameraCounts) {
    Json header = action_header();
    header.erase("obs_timestamps");
    ByteVector bytes = Json::to_msgpack(header);
    ++bytes[0];
    const std::string timestamps(
        "\xae"
        "obs_timestamps"
        "\x83"
        "\xa1"
        "a"
        "\x05"
        "\xa1"
        "b"
        "\x06"
        "\xa1"
        "a"
        "\x07");
    bytes.insert(bytes.end(), timestamps.begin(), timestamps.end());
    wire::Request request;
    for (int i = 0; i < 2; ++i) {  // into an empty map, then into a used one
        wire::decode_request(raw_frame(bytes, seven_floats), request);
        EXPECT_EQ(request.action.obs_timestamps, (std::map<std::string, double>{{"a", 5.0}, {"b", 6.0}}));
    }
}

TEST(Decoder, GoesOnAfterARefusedMessage) {
    wire::Request request;
    const ByteVector good = frame(action_header(), seven_floats);
    const ByteVector bad[] = {raw_frame(repeated(40, 0x91)), raw_frame({0xc1}), raw_frame({0x81, 0xdb, 0, 0, 1}),
                              raw_frame({0x92, 0x91}), frame(with("shape", {0}), {})};
    for (const ByteVector& message : bad) {
        EXPECT_THROW(wire::decode_request(message, request), wire::DecodeError);
        wire::decode_request(good, request);
        EXPECT_EQ(request.action.D, 7);
        EXPECT_EQ(request.action.data, std::vector<float>(7, 0.f));
    }
}

}  // namespace
}  // namespace chiral::test
