// SPDX-License-Identifier: Apache-2.0
// Every prefix and every one-byte corruption of every golden frame, and of our own frames, decodes or is refused with a
// DecodeError. Each message is decoded from memory of exactly its size, so that AddressSanitizer sees a read beyond it.
#include "frames.hpp"

#include <memory>
#include <random>

namespace chiral::test {
namespace {

class Decoders {
public:
    /// Anything but a DecodeError escapes.
    void feed(const std::uint8_t* bytes, std::size_t size) {
        const wire::Bytes message(bytes, size);
        try {
            wire::decode_request(message, request_);
            ++decoded_;
        } catch (const wire::DecodeError&) {
            ++refused_;
        }
        try {
            wire::decode_response(message, response_);
            ++decoded_;
        } catch (const wire::DecodeError&) {
            ++refused_;
        }
    }
    std::size_t decoded() const { return decoded_; }
    std::size_t refused() const { return refused_; }

private:
    wire::Request request_;
    wire::Response response_;
    std::size_t decoded_{0};
    std::size_t refused_{0};
};

std::map<std::string, ByteVector> all_frames() {
    std::map<std::string, ByteVector> frames;
    const Json manifest = golden_manifest();
    for (const auto& [name, entry] : manifest.items()) frames[name] = golden_frame(name);
    StepResult step;
    step.obs = sample_observation(1);
    step.info = {{"key", "value"}};
    wire::ObservationEncoder encoder;
    encoder.encode_step_response(step);
    frames["our step_response"] = joined(encoder);
    return frames;
}

std::unique_ptr<std::uint8_t[]> exact_copy(const std::uint8_t* bytes, std::size_t size) {
    std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[size]);
    std::copy(bytes, bytes + size, copy.get());
    return copy;
}

TEST(Corruption, EveryPrefixIsRefused) {
    for (const auto& [name, whole] : all_frames()) {
        SCOPED_TRACE(name);
        Decoders decoders;
        for (std::size_t size = 0; size < whole.size(); ++size)
            ASSERT_NO_THROW(decoders.feed(exact_copy(whole.data(), size).get(), size)) << size << " bytes";
        EXPECT_EQ(decoders.decoded(), 0u);
        decoders.feed(exact_copy(whole.data(), whole.size()).get(), whole.size());
        EXPECT_EQ(decoders.decoded(), 1u);
    }
}

// Sanitizers are slow at what throws so often.
#if defined(__SANITIZE_ADDRESS__)
constexpr unsigned kEvery = 8;
#else
constexpr unsigned kEvery = 1;
#endif

TEST(Corruption, EverySingleByteIsDecodedOrRefused) {
    for (const auto& [name, whole] : all_frames()) {
        SCOPED_TRACE(name);
        Decoders decoders;
        const auto bytes = exact_copy(whole.data(), whole.size());
        for (std::size_t i = 0; i < whole.size(); ++i) {
            for (unsigned difference = 1; difference < 256; difference += kEvery) {
                bytes[i] = static_cast<std::uint8_t>(whole[i] ^ difference);
                ASSERT_NO_THROW(decoders.feed(bytes.get(), whole.size())) << "byte " << i << " ^ " << difference;
            }
            bytes[i] = whole[i];
        }
        EXPECT_GT(decoders.refused(), 0u);
    }
}

TEST(Corruption, ManyBytesAreDecodedOrRefused) {
    std::minstd_rand random(1);
    for (const auto& [name, whole] : all_frames()) {
        SCOPED_TRACE(name);
        Decoders decoders;
        for (int round = 0; round < 3000; ++round) {
            const auto bytes = exact_copy(whole.data(), whole.size());
            for (auto changes = 2 + random() % 6; changes > 0; --changes)
                bytes[4 + random() % (whole.size() - 4)] = static_cast<std::uint8_t>(random());
            ASSERT_NO_THROW(decoders.feed(bytes.get(), whole.size())) << "round " << round;
        }
    }
}

}  // namespace
}  // namespace chiral::test
