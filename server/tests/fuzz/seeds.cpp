// SPDX-License-Identifier: Apache-2.0
#include "seeds.hpp"

#include "frames.hpp"

#include "imaging/transform.hpp"

namespace chiral::fuzz {

namespace {

using test::ByteVector;
using Seeds = std::map<std::string, ByteVector>;

// Two proprios that announce the same bytes: one copy of them is refused, or a message could grow without end.
ByteVector overlapping_proprios() {
    const test::Json proprio = {{"name", "joints"}, {"dtype", "float32"}, {"offset", 0}, {"size", 32}};
    const test::Json cameras = test::Json::array();
    const test::Json proprios = {proprio, proprio};
    return test::frame({{"type", "obs_response"}, {"timestamp", 0.5}, {"cameras", cameras}, {"proprios", proprios}},
                       ByteVector(32, 1));
}

// Metadata that becomes JSON: {7: [nil, -1, 0.5 as float32], {"k": true}: binary, [1]: an extension}
ByteVector metadata_of_all_kinds() {
    const ByteVector data{0x83, 7,    0x93, 0xc0, 0xff, 0xca, 0x3f, 0, 0,    0, 0x81, 0xa1,
                          'k',  0xc3, 0xc4, 2,    0xff, 0,    0x91, 1, 0xd4, 5, 0x7f};
    ByteVector header = test::Json::to_msgpack({{"type", "metadata_response"}});
    header[0] = 0x82;  // one pair more
    for (const char c : std::string("\xa4"
                                    "data"))
        header.push_back(static_cast<std::uint8_t>(c));
    header.insert(header.end(), data.begin(), data.end());
    return test::raw_frame(header);
}

// Of a size that is made in a moment.
ByteVector small_want() {
    wire::WantRequest request;
    request.want.all = {{9, 7}, Fit::crop, ImageEncoding::jpeg, 70, ColourOrder::bgr, DepthEncoding::millimetres};
    request.want.cameras["wris"] = {{4, 12}, Fit::pad, ImageEncoding::png, 85, ColourOrder::rgb, DepthEncoding::lossless};
    request.want.cameras["wri"] = {{}, Fit::stretch,     ImageEncoding::zstd,
                                   85, ColourOrder::rgb, DepthEncoding::millimetres_png};
    request.want.proprios = std::vector<std::string>{"torque"};
    ByteVector message;
    wire::encode_obs_request(request, message);
    return message;
}

ByteVector answer_in_all_encodings() {
    constexpr ImageSize size{6, 8};
    const std::vector<std::uint8_t> pixels(6 * 8 * 3, 50);
    const std::vector<float> metres(6 * 8, 0.75f);
    imaging::ImageEncoder encoder;
    Observation obs;
    for (const auto& [image_encoding, depth_encoding] :
         {std::pair(ImageEncoding::jpeg, DepthEncoding::lossless), std::pair(ImageEncoding::png, DepthEncoding::millimetres),
          std::pair(ImageEncoding::zstd, DepthEncoding::millimetres_png)}) {
        CameraWish wish;
        wish.image = image_encoding;
        wish.depth = depth_encoding;
        imaging::EncodedImage image;
        imaging::EncodedDepth depth;
        encoder.image(pixels.data(), {size, 3}, wish, image);
        encoder.depth(metres.data(), size, wish, depth);
        CameraInfo& camera = obs.cameras.emplace_back();
        camera.name = "camera " + std::to_string(obs.cameras.size());
        camera.sequence = camera.depth_sequence = 3;
        camera.image_shape = {6, 8, 3};
        camera.image_dtype = "uint8";
        camera.image_encoding = image_encoding;
        camera.image = image.bytes;
        camera.has_depth = true;
        camera.depth_shape = {6, 8};
        camera.depth_dtype = "float32";
        camera.depth_encoding = depth_encoding;
        camera.depth_data = depth.bytes;
    }
    wire::ObservationEncoder answer;
    answer.encode_wanted_response(obs);
    return test::joined(answer);
}

Seeds frames() {
    Seeds frames;
    const test::Json manifest = test::golden_manifest();
    for (const auto& [name, entry] : manifest.items()) frames[name] = test::golden_frame(name);
    frames["client_obs_request_with_want"] = test::golden_frame("want/obs_request");
    frames["server_obs_response_to_want"] = test::golden_frame("want/obs_response");
    frames["client_wants"] = small_want();
    frames["server_answer_to_want_in_all_encodings"] = answer_in_all_encodings();
    StepResult step;
    step.obs = test::sample_observation(1);
    step.info = {{"key", "value"}};
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(step.obs);
    frames["our_obs_response"] = test::joined(encoder);
    encoder.encode_reset_response(step.obs, step.info);
    frames["our_reset_response"] = test::joined(encoder);
    encoder.encode_step_response(step);
    frames["our_step_response"] = test::joined(encoder);
    wire::encode_metadata_response(step.info, frames["our_metadata_response"]);
    frames["overlapping_proprios"] = overlapping_proprios();
    frames["all_kinds_metadata_response"] = metadata_of_all_kinds();
    return frames;
}

Seeds headers() {
    Seeds headers;
    for (const auto& [name, frame] : frames()) {
        std::uint32_t length = 0;
        std::memcpy(&length, frame.data(), sizeof length);
        headers[name].assign(frame.begin() + 4, frame.begin() + 4 + length);
    }
    return headers;
}

Seeds addresses() {
    Seeds seeds;
    for (const std::string text :
         {"ws://localhost:8765", "ws://robot", "ws://10.0.0.7:1/", "ws://robot:80/a/b%20c?x=1&y=[2]", "ws://robot?x=1",
          "ws://[::1]:8765", "ws://[fe80::1%eth0]/path", "wss://robot"})
        seeds["address_" + std::to_string(seeds.size())].assign(text.begin(), text.end());
    return seeds;
}

// A gradient in every encoding; in front of the stream stands what the targets of pictures.cpp read there.
Seeds pictures(const std::string& target) {
    constexpr ImageSize size{24, 32};
    std::vector<std::uint8_t> pixels(std::size_t{4} * size.height * size.width);
    std::vector<float> metres(std::size_t{1} * size.height * size.width);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i / 5 + i % 4 * 40);
    for (std::size_t i = 0; i < metres.size(); ++i) metres[i] = 0.004f * static_cast<float>(i);
    Seeds seeds;
    imaging::ImageEncoder encoder;
    const auto add = [&](const std::string& name, std::uint8_t variant, const ByteVector& stream) {
        ByteVector& seed = seeds[name] = {size.height - 1, size.width - 1, variant};
        seed.insert(seed.end(), stream.begin(), stream.end());
    };
    const auto image = [&](ImageEncoding encoding, int channels, std::uint8_t variant) {
        imaging::EncodedImage out;
        CameraWish wish;
        wish.image = encoding;
        encoder.image(pixels.data(), {size, channels}, wish, out);
        add("picture_of_" + std::to_string(channels), variant, out.bytes);
    };
    const auto depth = [&](DepthEncoding encoding, const std::string& name, std::uint8_t variant) {
        imaging::EncodedDepth out;
        CameraWish wish;
        wish.depth = encoding;
        encoder.depth(metres.data(), size, wish, out);
        add(name, variant, out.bytes);
    };
    if (target == "jpeg") {
        image(ImageEncoding::jpeg, 3, 0);
        image(ImageEncoding::jpeg, 1, 1);
    } else if (target == "png") {
        image(ImageEncoding::png, 1, 0);
        image(ImageEncoding::png, 3, 1);
        image(ImageEncoding::png, 4, 2);
        depth(DepthEncoding::millimetres_png, "depth", 3);
    } else {
        image(ImageEncoding::zstd, 3, 0);
        depth(DepthEncoding::lossless, "lossless_depth", 1);
        depth(DepthEncoding::millimetres, "depth", 2);
    }
    return seeds;
}

}  // namespace

std::map<std::string, std::vector<std::uint8_t>> seeds_of(const std::string& target) {
    if (target == "uri") return addresses();
    if (target == "header") return headers();
    if (target == "jpeg" || target == "png" || target == "zstd") return pictures(target);
    Seeds seeds = frames();
    // A target learns from its own messages; the others would only be refused.
    std::erase_if(seeds, [&](const auto& seed) {
        const bool from_client = seed.first.starts_with("client_");
        const bool metadata = seed.first.find("metadata_response") != std::string::npos;
        if (target == "request") return !from_client;
        if (target == "want" || target == "wanted_response")
            return seed.first.find("want") == std::string::npos || from_client != (target == "want");
        if (target == "metadata_response") return !metadata;
        if (target == "observation_response") return from_client || metadata;
        return false;
    });
    return seeds;
}

}  // namespace chiral::fuzz
