// SPDX-License-Identifier: Apache-2.0
// What Python declares of its sources: python/chiral/_sources.py writes these tuples.
#pragma once

#include <chiral/sources.hpp>

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace chiral::python {

namespace nb = nanobind;

// stale_after in seconds, frozen_after, expected_hz.
using LimitsTuple = std::tuple<std::optional<double>, std::optional<std::uint64_t>, double>;
// readers, depth_readers.
using ReadersTuple = std::tuple<std::optional<int>, std::optional<int>>;
using CameraTuple = std::tuple<std::string, int, int, int, bool, nb::object, nb::object, std::string, std::string, double,
                               bool, std::string, std::size_t, LimitsTuple, ReadersTuple>;
using ProprioTuple = std::tuple<std::string, int, LimitsTuple, std::vector<std::string>, std::string>;
using SlotTuple =
    std::tuple<std::string, std::size_t, std::string, std::vector<int>, std::optional<double>, std::uint64_t, int>;

/// Throw ValueError for what no C++ type could say, and for readers that HeldServer does not have.
CameraConfig camera_config(const CameraTuple& camera);
ProprioConfig proprio_config(const ProprioTuple& proprio);
SlotConfig slot_config(const SlotTuple& slot);

}  // namespace chiral::python
