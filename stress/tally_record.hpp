// SPDX-License-Identifier: Apache-2.0
// A tally as it passes from one process to another: of fixed size, in memory that both have.
#pragma once

#include "look_checker.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace chiral::stress {

/// Written by one process, read by the other after the first has ended.
class TallyRecord {
public:
    /// Texts that are too many or too long are cut; counts are whole.
    void store(const Tally& tally) noexcept;
    Tally load() const;

private:
    static constexpr std::size_t kMostSources = 256, kMostTexts = 8;  // a client takes no more sources
    static constexpr std::array kCounts{&Tally::looks,      &Tally::full_looks, &Tally::torn,
                                        &Tally::incoherent, &Tally::backwards,  &Tally::stale,
                                        &Tally::frozen,     &Tally::mixed,      &Tally::overruns};
    struct Numbers {
        std::size_t count{0};
        std::array<std::uint64_t, kMostSources> number{};
    };
    struct Texts {
        std::size_t count{0};
        std::array<std::array<char, 320>, kMostTexts> text{};
    };

    static Numbers record(const std::vector<std::uint64_t>& numbers) noexcept;
    static Texts record(const std::vector<std::string>& texts) noexcept;

    std::array<std::uint64_t, kCounts.size()> counts_{};
    Numbers missed_cameras_, missed_proprios_;
    Texts frozen_sources_, examples_;
};

}  // namespace chiral::stress
