// SPDX-License-Identifier: Apache-2.0
// The Chiral wire format: frames, headers and their payloads, with no input or output of its own.
//
// A frame is  u32 little-endian header length | MessagePack map | payload bytes to the end of the message.
//
// Decoders treat every byte as hostile: they check lengths before use, bound nesting and counts before they allocate,
// look keys up by name (the first counts where one is repeated), ignore unknown keys, refuse keys inside keys inside keys,
// accept an integer wherever a float is expected, and report what came and what was expected as a DecodeError. They throw
// nothing else, short of std::bad_alloc, and never read outside the given span. After a DecodeError the output is valid
// but unspecified.
// They allocate nothing in steady state: when a message has the names and sizes of the previous one decoded into the
// same output on the same thread. Info and metadata maps and wants are the exception, they are built anew.
//
// Encoders write every float as float64. What they cannot write they refuse with std::invalid_argument, which names
// the camera, what it has and what was expected; and so they do with what the decoders would refuse by their default Limits.
// Text that is not UTF-8 is sent with U+FFFD in its place.
#pragma once

#include <chiral/api.hpp>
#include <chiral/dtype.hpp>
#include <chiral/types.hpp>
#include <chiral/want.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace chiral::wire {

using Bytes = std::span<const std::uint8_t>;

/// A message whose payload lies in several places: what a gather write sends, or pixels in shared memory. Its bytes are those
/// of `head` and then of every piece, in order. `head` has the header and may have some payload behind it.
struct Message {
    Bytes head;
    std::span<const Bytes> pieces{};

    std::size_t size() const noexcept {
        std::size_t total = head.size();
        for (const Bytes& piece : pieces) total += piece.size();
        return total;
    }
};

/// A message that is not what the protocol allows; what() says what came and what was expected.
class CHIRAL_API DecodeError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Bounds on what a peer may send. Payloads are bounded by the message: no two pieces may share bytes of it.
struct Limits {
    std::size_t max_header_bytes = 1 << 20;
    std::size_t max_cameras = 256;  ///< also of the cameras in obs_timestamps
    std::size_t max_proprios = 256;
    std::size_t max_action_elements = 1 << 20;
    std::size_t max_map_entries = 4096;  ///< of any map, and elements of any array, in a header
    std::size_t max_values = 1 << 16;    ///< MessagePack values in a header: 256 cameras take some 20 000
    std::size_t max_depth = 32;          ///< nesting of MessagePack containers
    int max_want_side = 8192;            ///< pixels, of a picture that a client wants
    std::size_t max_want_pixels = 1 << 23;
    /// Of all images and depths in a message that are encoded, as large as they will be: there a few bytes of payload may
    /// announce any size.
    std::size_t max_decoded_bytes = std::size_t{1} << 28;
};

// ---- client to server ----

enum class RequestType { metadata, reset, obs_request, apply_action, action };

/// The type as it stands in the header.
constexpr const char* to_string(RequestType type) noexcept {
    constexpr const char* names[] = {"metadata", "reset", "obs_request", "apply_action", "action"};
    return names[static_cast<int>(type)];
}

/// What a client has of a camera: CameraInfo::sequence and depth_sequence of what it got last; 0: nothing.
struct Have {
    std::uint64_t image{0}, depth{0};

    friend bool operator==(const Have&, const Have&) = default;
};

/// A want as it is sent: with what the client has of each camera, where it wants only what is newer.
struct WantRequest {
    Want want;
    std::map<std::string, Have> have;
    double took{0.0};  ///< seconds from the request before until its answer was there; 0: not known. Of a want with a budget
};

/// A decoded request. `action` is filled for apply_action and action only, and left alone otherwise. Actions with a
/// NaN or infinite element or observation time, a shape other than [D] or [N, D] with positive sizes, another dtype
/// than float32, or a payload that is not exactly shape times four bytes are DecodeErrors. So is a payload behind any
/// other request. Missing obs_timestamps are none. `want` is what an obs_request wants, null if it does not say.
struct Request {
    RequestType type{};
    Action action;
    std::shared_ptr<const WantRequest> want{};
};

/// Decodes into `out`, reusing its memory.
CHIRAL_API void decode_request(Bytes message, Request& out, const Limits& limits = {});

/// Encoders append to nothing: they clear `out`, reuse its capacity and leave one whole message.
CHIRAL_API void encode_request(RequestType type, std::vector<std::uint8_t>& out);  ///< metadata, reset, obs_request
/// An obs_request that wants something. Refuses, with std::invalid_argument, what decode_request would.
CHIRAL_API void encode_obs_request(const WantRequest& want, std::vector<std::uint8_t>& out);

/// Both refuse, with std::invalid_argument, a shape, an element or a time that decode_request would: nobody answers an
/// action, so its sender would never learn of it. `one_dimensional` writes shape [D] where N is 1, and [N, D] as ever
/// where it is not.
CHIRAL_API void encode_apply_action(const Action& action, bool one_dimensional, std::vector<std::uint8_t>& out);
CHIRAL_API void encode_legacy_action(const Action& action, std::vector<std::uint8_t>& out);
/// Throws what they would.
CHIRAL_API void check_action(RequestType type, const Action& action);

// ---- server to client ----

enum class ResponseType { metadata_response, reset_response, obs_response, step_response };

/// The type as it stands in the header.
constexpr const char* to_string(ResponseType type) noexcept {
    constexpr const char* names[] = {"metadata_response", "reset_response", "obs_response", "step_response"};
    return names[static_cast<int>(type)];
}

/// A decoded response. The observation is filled for obs, reset and step, and left alone by metadata; `info` for reset
/// and step; reward and the flags for step; `metadata` for metadata. Fields that an answer does not carry are cleared.
///
/// Values in `info` and `metadata` that are not strings, and those in `extra` that ExtraValue cannot hold, arrive as
/// compact JSON text: keys in the order sent, binary as base64, NaN and infinities as null.
struct Response {
    ResponseType type{};
    StepResult result;
    InfoMap metadata;
};

/// Decodes into `out`, reusing the memory of its observation. Images, depths and proprios must lie inside the payload,
/// must not take more bytes together than it has, and must be exactly as long as their shape says. A camera without an
/// image has shape [] and no bytes. Source fields that a peer does not send get their defaults; a status that this
/// version does not know counts as stale, so that nobody takes it for fresh. Of images and depths that are encoded, the bytes
/// are left as they came: image_encoding and depth_encoding say how, the shape what they will become.
CHIRAL_API void decode_response(Bytes message, Response& out, const Limits& limits = {});

/// The same, but decodes the observation into `obs` and leaves out.result.obs alone. With a lender, which keeps `message`
/// readable and unchanged, images and depths borrow from it instead of being copied, except for depths that lie where floats
/// may not.
CHIRAL_API void decode_response(Bytes message, Response& out, Observation& obs, const Limits& limits = {},
                                Loan* lender = nullptr);
/// The same of a message in pieces. An image, depth or proprio that is cut in two by the end of a piece is a DecodeError.
CHIRAL_API void decode_response(const Message& message, Response& out, Observation& obs, const Limits& limits = {},
                                Loan* lender = nullptr);

/// Where the payload of a message begins, according to its first four bytes; 4 if there are fewer.
CHIRAL_API std::size_t payload_offset(Bytes message) noexcept;

/// Refuses, with std::invalid_argument, sources that no observation could carry: too many, or names that are not UTF-8 or too
/// long together.
CHIRAL_API void check_sources(std::span<const CameraConfig> cameras, std::span<const ProprioConfig> proprios);

/// What the numbers of sources mean, as far as their declarations say more than a shape: adds "chiral.sources" to the metadata,
/// unless nothing is said or the application has an entry of that name: {cameras: {name: {depth_unit, expected_hz}}, proprios:
/// {name: {elements, unit, expected_hz}}}. Throws std::invalid_argument if `encoded` of the metadata is no MessagePack map.
CHIRAL_API void describe_sources(std::span<const CameraConfig> cameras, std::span<const ProprioConfig> proprios,
                                 InfoMap& metadata);

CHIRAL_API void encode_metadata_response(const InfoMap& metadata, std::vector<std::uint8_t>& out);

/// Encodes the answers that carry an observation, as a head and a list of payload pieces that point into the
/// observation, so that a gather write sends them without copying a pixel.
///
/// The header of the previous answer is kept: while names, shapes and the kind of answer stay the same, only the
/// numbers in it are written over, and nothing is allocated. Key `extra` comes last, with `info` where there is one,
/// and is encoded anew each time.
///
/// Throws std::invalid_argument for an image or depth that is not as long as its shape and dtype say, an image whose shape is
/// not [H, W, C] or [H, W], a depth whose shape is not [H, W], and a dtype that parse_dtype() does not know (empty: uint8 and
/// float32). An empty image may have shape [], a depth may not. A camera that is refused leaves head() and payload() as they
/// were; `extra` or `info` that is too large leaves them empty.
///
/// Thread rule: one thread at a time. The pieces stay valid while the observation and the encoder are unchanged.
class CHIRAL_API ObservationEncoder {
public:
    void encode_obs_response(const Observation& obs);
    void encode_reset_response(const Observation& obs, const InfoMap& info);
    void encode_step_response(const StepResult& result);
    /// An obs_response to a client that wants something: pixels may be encoded or left out, and each camera says how. Its
    /// header is built anew each time.
    void encode_wanted_response(const Observation& obs);
    // The pieces would point into an observation that is gone.
    void encode_obs_response(const Observation&&) = delete;
    void encode_wanted_response(const Observation&&) = delete;
    void encode_reset_response(const Observation&&, const InfoMap&) = delete;
    void encode_step_response(const StepResult&&) = delete;

    /// u32 header length and header.
    Bytes head() const noexcept { return head_; }
    /// image0, depth0, image1, ..., then the proprios; no padding between them. Empty ones are left out.
    std::span<const Bytes> payload() const noexcept { return payload_; }
    std::size_t total_bytes() const noexcept;
    /// How often the header had to be built anew instead of patched.
    std::uint64_t rebuilds() const noexcept { return rebuilds_; }

private:
    void encode(ResponseType type, const Observation& obs, const InfoMap* info, const StepResult* step);
    bool matches(ResponseType type, const Observation& obs) const noexcept;
    void rebuild(ResponseType type, const Observation& obs, const StepResult* step);
    void patch(const Observation& obs, const StepResult* step);
    void write_tail(ResponseType type, const Observation& obs, const InfoMap* info);

    // What the kept header was built for, and where in head_ the numbers begin that change from answer to answer.
    struct Layout {
        std::array<int, 5> shape{};  // H, W, C, depth H, depth W; zeros: no channels, no image, no depth
        DType image{}, depth{};
        double depth_unit{0.0};
        friend bool operator==(const Layout&, const Layout&) = default;
    };
    static Layout layout_of(const CameraInfo& camera) noexcept;  // of one that is not refused
    struct KeptCamera {
        std::string name;
        Layout layout;
        std::size_t numbers{0};
    };
    struct KeptProprio {
        std::string name;
        std::size_t elements{0};
        std::size_t numbers{0};
    };
    struct Kept {
        bool valid{false};
        ResponseType type{};
        std::vector<KeptCamera> cameras;
        std::vector<KeptProprio> proprios;
        std::size_t times{0};
        std::size_t step_numbers{0};
        std::size_t tail{0};  // `extra` and what follows, written anew each time
    } kept_;

    std::vector<std::uint8_t> head_;
    std::vector<Bytes> payload_;
    std::uint64_t rebuilds_{0};
    bool wanted_{false};  // what is being encoded answers a want
};

}  // namespace chiral::wire
