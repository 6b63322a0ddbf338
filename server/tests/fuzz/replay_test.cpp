// SPDX-License-Identifier: Apache-2.0
// Every target of the fuzzer, in an ordinary test program: the seeds, cut and damaged ones, and every input that ever went
// wrong (regressions/TARGET/NAME).
#include "properties.hpp"
#include "seeds.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <ostream>
#include <random>

namespace chiral::fuzz {

void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

namespace {

class Fuzzed : public testing::TestWithParam<Target> {
protected:
    // From memory of exactly its size, so that AddressSanitizer sees a read beyond it.
    void feed(Bytes bytes) {
        const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[bytes.size()]);
        std::copy(bytes.begin(), bytes.end(), exact.get());
        GetParam().check({exact.get(), bytes.size()});
    }
};

TEST_P(Fuzzed, KeepsItsPromisesOnTheSeeds) {
    const auto seeds = seeds_of(GetParam().name);
    ASSERT_FALSE(seeds.empty());
    for (const auto& [name, bytes] : seeds) EXPECT_NO_THROW(feed(bytes)) << name;
}

TEST_P(Fuzzed, KeepsItsPromisesOnDamagedSeeds) {
    std::minstd_rand random(1);
    for (const auto& [name, whole] : seeds_of(GetParam().name)) {
        for (std::size_t size = 0; size < whole.size(); size += 1 + random() % 16)
            EXPECT_NO_THROW(feed(Bytes(whole).first(size))) << name << ", the first " << size << " bytes";
        for (int round = 0; round < 300; ++round) {
            auto bytes = whole;
            for (auto changes = 1 + random() % 4; changes > 0; --changes)
                bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
            EXPECT_NO_THROW(feed(bytes)) << name << ", round " << round;
        }
    }
}

TEST_P(Fuzzed, KeepsItsPromisesOnWhatOnceBrokeThem) {
    const auto folder = std::filesystem::path(CHIRAL_FUZZ_REGRESSIONS) / GetParam().name;
    if (!std::filesystem::exists(folder)) return;  // nothing has gone wrong with this target so far
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        std::ifstream file(entry.path(), std::ios::binary);
        ASSERT_TRUE(file) << entry.path();
        const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
        EXPECT_NO_THROW(feed(bytes)) << entry.path();
    }
}

INSTANTIATE_TEST_SUITE_P(Target, Fuzzed, testing::ValuesIn(all_targets));  // ctest names them by PrintTo()

TEST(Regressions, BelongToATarget) {
    for (const auto& entry : std::filesystem::directory_iterator(CHIRAL_FUZZ_REGRESSIONS)) {
        if (!entry.is_directory()) continue;
        const auto is_it = [&](const Target& target) { return entry.path().filename() == target.name; };
        EXPECT_TRUE(std::any_of(std::begin(all_targets), std::end(all_targets), is_it)) << entry.path();
    }
}

}  // namespace
}  // namespace chiral::fuzz
