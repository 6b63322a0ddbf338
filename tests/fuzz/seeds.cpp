#include "seeds.hpp"

#include "frames.hpp"

namespace chiral::fuzz {

namespace {

using test::ByteVector;
using Seeds = std::map<std::string, ByteVector>;

Seeds frames() {
    Seeds frames;
    const test::Json manifest = test::golden_manifest();
    for (const auto& [name, entry] : manifest.items()) frames[name] = test::golden_frame(name);
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
    for (const std::string text : {"ws://localhost:8765", "ws://robot", "ws://10.0.0.7:1/", "ws://robot:80/a/b%20c?x=1&y=[2]",
                                   "ws://robot?x=1", "ws://[::1]:8765", "ws://[fe80::1%eth0]/path", "wss://robot"})
        seeds["address_" + std::to_string(seeds.size())].assign(text.begin(), text.end());
    return seeds;
}

}  // namespace

std::map<std::string, std::vector<std::uint8_t>> seeds_of(const std::string& target) {
    if (target == "uri") return addresses();
    if (target == "header") return headers();
    Seeds seeds = frames();
    // A target learns from its own messages; the others would only be refused.
    std::erase_if(seeds, [&](const auto& seed) {
        const bool from_client = seed.first.starts_with("client_");
        const bool metadata = seed.first.find("metadata_response") != std::string::npos;
        if (target == "request") return !from_client;
        if (target == "metadata_response") return !metadata;
        if (target == "observation_response") return from_client || metadata;
        return false;
    });
    return seeds;
}

}  // namespace chiral::fuzz
