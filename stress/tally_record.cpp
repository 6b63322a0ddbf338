// SPDX-License-Identifier: Apache-2.0
#include "tally_record.hpp"

#include <algorithm>

namespace chiral::stress {

TallyRecord::Numbers TallyRecord::record(const std::vector<std::uint64_t>& numbers) noexcept {
    Numbers record;
    record.count = std::min(numbers.size(), kMostSources);
    std::copy_n(numbers.begin(), record.count, record.number.begin());
    return record;
}

TallyRecord::Texts TallyRecord::record(const std::vector<std::string>& texts) noexcept {
    Texts record;
    record.count = std::min(texts.size(), kMostTexts);
    for (std::size_t i = 0; i < record.count; ++i)
        std::copy_n(texts[i].begin(), std::min(texts[i].size(), record.text[i].size() - 1), record.text[i].begin());
    return record;
}

void TallyRecord::store(const Tally& tally) noexcept {
    for (std::size_t i = 0; i < kCounts.size(); ++i) counts_[i] = tally.*kCounts[i];
    missed_cameras_ = record(tally.missed_cameras);
    missed_proprios_ = record(tally.missed_proprios);
    frozen_sources_ = record(tally.frozen_sources);
    examples_ = record(tally.examples);
}

Tally TallyRecord::load() const {
    const auto numbers = [](const Numbers& record) {
        return std::vector<std::uint64_t>(record.number.begin(),
                                          record.number.begin() + static_cast<std::ptrdiff_t>(record.count));
    };
    const auto texts = [](const Texts& record) {
        std::vector<std::string> all;
        for (std::size_t i = 0; i < record.count; ++i) all.emplace_back(record.text[i].data());
        return all;
    };
    Tally tally;
    for (std::size_t i = 0; i < kCounts.size(); ++i) tally.*kCounts[i] = counts_[i];
    tally.missed_cameras = numbers(missed_cameras_);
    tally.missed_proprios = numbers(missed_proprios_);
    tally.frozen_sources = texts(frozen_sources_);
    tally.examples = texts(examples_);
    return tally;
}

}  // namespace chiral::stress
