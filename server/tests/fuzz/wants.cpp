// SPDX-License-Identifier: Apache-2.0
// Wants from end to end. Whatever a client may want, within a bound on what it takes, a server makes, and the client makes plain
// arrays of it; and whatever comes as the answer is refused with a text, or becomes arrays of the shape that it says.
#include "properties.hpp"

#include "frames.hpp"
#include "imaging/plan.hpp"
#include "imaging/unpack.hpp"

#include <chiral/wire.hpp>

#include <cmath>
#include <list>
#include <vector>

namespace chiral::fuzz {

namespace {

struct NoLoan final : Loan {
    void add_ref() noexcept override {}
    void drop_ref() noexcept override {}
};

std::vector<CameraConfig> cameras() {
    std::vector<CameraConfig> cameras(3);
    for (std::size_t i = 0; i < cameras.size(); ++i) {
        cameras[i].name = std::string("wrist").substr(0, 5 - i);
        cameras[i].height = 6;
        cameras[i].width = 8;
        cameras[i].channels = static_cast<int>(3 - i);
        cameras[i].has_depth = i != 1;
    }
    return cameras;
}

// What a robot with these cameras has published.
Observation published(NoLoan& loan) {
    static const std::vector<std::uint8_t> pixels(6 * 8 * 3, 77);
    static const std::vector<float> metres(6 * 8, 1.5f);
    Observation obs;
    for (const CameraConfig& config : cameras()) {
        CameraInfo& camera = obs.cameras.emplace_back();
        camera.name = config.name;
        camera.sequence = camera.depth_sequence = 7;
        camera.image_shape = {6, 8, config.channels};
        camera.image_dtype = "uint8";
        camera.image.borrow(pixels.data(), static_cast<std::size_t>(6 * 8 * config.channels), loan);
        camera.has_depth = config.has_depth;
        if (!config.has_depth) continue;
        camera.depth_shape = {6, 8};
        camera.depth_dtype = "float32";
        camera.depth_data.borrow(reinterpret_cast<const std::uint8_t*>(metres.data()), metres.size() * sizeof(float), loan);
    }
    for (const char* name : {"joint_pos", "torque"}) {
        ProprioInfo& proprio = obs.proprios.emplace_back();
        proprio.name = name;
        proprio.data = {1, 2, 3};
    }
    return obs;
}

std::size_t bytes_of_shape(const std::vector<int>& shape, std::size_t element) {
    std::size_t bytes = shape.empty() ? 0 : element;
    for (const int side : shape) bytes *= static_cast<std::size_t>(side);
    return bytes;
}

void require_plain(const Observation& obs) {
    for (const CameraInfo& camera : obs.cameras) {
        if (camera.image_dtype == "uint8")
            require(camera.image.size() == bytes_of_shape(camera.image_shape, 1), "an image has what its shape says");
        if (camera.has_depth && camera.depth_dtype == "float32")
            require(camera.depth_data.size() == bytes_of_shape(camera.depth_shape, sizeof(float)),
                    "depth has what its shape says");
    }
}

// As the pool does it. The streams have to outlive the observation.
struct Made {
    imaging::EncodedImage image;
    imaging::EncodedDepth depth;
};
std::size_t make(const imaging::Piece& piece, Observation& obs, std::list<Made>& made, NoLoan& loan) {
    static imaging::ImageEncoder encoder;
    CameraInfo& camera = obs.cameras[piece.camera];
    Made& one = made.emplace_back();
    const auto resize = [](std::vector<int>& shape, ImageSize size) {
        shape[0] = size.height;
        shape[1] = size.width;
    };
    if (piece.depth) {
        encoder.depth(reinterpret_cast<const float*>(std::as_const(camera.depth_data).data()), piece.format.size, piece.wish,
                      one.depth);
        camera.depth_data.borrow(one.depth.bytes.data(), one.depth.bytes.size(), loan);
        camera.depth_encoding = one.depth.encoding;
        resize(camera.depth_shape, one.depth.size);
        return bytes_of_shape(camera.depth_shape, sizeof(float));
    }
    encoder.image(std::as_const(camera.image).data(), piece.format, piece.wish, one.image);
    camera.image.borrow(one.image.bytes.data(), one.image.bytes.size(), loan);
    camera.image_encoding = one.image.encoding;
    resize(camera.image_shape, one.image.size);
    return bytes_of_shape(camera.image_shape, 1);
}

}  // namespace

void want(Bytes bytes) {
    wire::Request request;
    try {
        wire::decode_request(bytes, request);
    } catch (const wire::DecodeError&) {
        return;  // for the target of requests
    }
    if (!request.want) return;
    const std::size_t bound = imaging::wanted_bytes(cameras(), request.want->want);
    if (bound > 1u << 18) return;  // as the server refuses what is too much
    NoLoan loan;
    Observation obs = published(loan);
    const imaging::Reduction reduction{100, bytes.size() % 3 == 0 ? 0.5 : 1.0, false};
    const auto pieces = imaging::plan(obs, *request.want, reduction, [](const std::uint8_t*) { return true; });
    std::list<Made> made;
    std::size_t total = 0;
    for (const imaging::Piece& piece : pieces) total += make(piece, obs, made, loan);
    // Halved, a picture of its own size has to be made where it had not.
    require(total <= (reduction.scale < 1 ? std::max(bound, std::size_t{6 * 8 * (3 + 2 + 1 + 4 + 4)}) : bound),
            "a want takes no more than was reckoned", std::to_string(total) + " of " + std::to_string(bound));
    for (const CameraInfo& camera : obs.cameras)
        require(camera.intrinsics.allFinite(), "a camera matrix is finite", camera.name);
    wire::ObservationEncoder encoder;
    encoder.encode_wanted_response(obs);
    const std::vector<std::uint8_t> answer = test::joined(encoder);
    wire::Response response;
    wire::decode_response(answer, response);
    for (const CameraInfo& camera : response.result.obs.cameras)
        if (camera.image_unchanged || camera.depth_unchanged) return;  // of which this client has nothing
    imaging::Unpacker unpacker;
    unpacker.unpack(response.result.obs, true);
    require_plain(response.result.obs);
}

void wanted_response(Bytes bytes) {
    wire::Response response;
    try {
        wire::decode_response(bytes, response);
    } catch (const wire::DecodeError&) {
        return;  // for the target of observations
    }
    std::size_t announced = 0;
    for (const CameraInfo& camera : response.result.obs.cameras)
        announced += bytes_of_shape(camera.image_shape, 1) + bytes_of_shape(camera.depth_shape, sizeof(float));
    if (announced > 1u << 20) return;  // within the limits, but it takes long
    imaging::Unpacker unpacker;
    for (int round = 0; round < 2; ++round) try {
            wire::decode_response(bytes, response);
            unpacker.unpack(response.result.obs, true);
            require_plain(response.result.obs);
            require(unpacker.have().size() <= response.result.obs.cameras.size(),
                    "no more cameras are remembered than came");
        } catch (const wire::DecodeError& error) {
            require(error.what()[0] != '\0', "a refusal has words");
            return;
        }
}

}  // namespace chiral::fuzz
