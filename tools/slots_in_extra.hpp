// SPDX-License-Identifier: Apache-2.0
// Slots as an observation carries them: in `extra`, beside what the robot's program put there.
#pragma once

#include <chiral/dtype.hpp>
#include <chiral/types.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace chiral::tools {

/// One value of a slot, as docs/SENSORS.md describes it.
struct SlotInfo {
    std::string name;
    DType dtype{DType::uint8};
    std::vector<int> shape;
    std::vector<std::uint8_t> data;  ///< as many bytes as dtype and shape say
    double timestamp{0.0};           ///< when it was captured, seconds; 0 before the first
    std::uint64_t sequence{0};
    SourceStatus status{SourceStatus::never};
};

/// In the order in which they came. Whatever is not a slot in each of its fields is the program's own data and is left out.
std::vector<SlotInfo> slots_in(const ExtraMap& extra);

}  // namespace chiral::tools
