// SPDX-License-Identifier: Apache-2.0
// What the numbers of sources mean, as far as their declarations say more than a shape: names and unit of a stream's elements, the
// unit of depth, the rate at which a source is to deliver.
#pragma once

#include <chiral/sources.hpp>
#include <chiral/types.hpp>

#include <span>

namespace chiral::robot {

/// Adds "chiral.sources" to the metadata, unless nothing is said or the application has an entry of that name:
/// {cameras: {name: {depth_unit, expected_hz}}, proprios: {name: {elements, unit, expected_hz}}}. Throws std::invalid_argument if
/// `encoded` of the metadata is no MessagePack map.
void describe_sources(std::span<const CameraConfig> cameras, std::span<const ProprioConfig> proprios, InfoMap& metadata);

}  // namespace chiral::robot
