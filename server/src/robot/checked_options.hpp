// SPDX-License-Identifier: Apache-2.0
// ServerOptions that make sense.
#pragma once

#include "robot/observation_source.hpp"

#include <chiral/log.hpp>
#include <chiral/options.hpp>
#include <chiral/sources.hpp>

#include <vector>

namespace chiral::robot {

/// Who may look at once.
ObservationSource::Seats seats_of(const ServerOptions& options) noexcept;
/// Clients on the same machine that may read by themselves.
int guests_of(const ServerOptions& options) noexcept;

/// The options, with time-outs that can be added to the present time, and with `log`, which must outlive them. Throws
/// std::invalid_argument that names an option that makes no sense, what it is and what was expected.
ServerOptions checked(ServerOptions options, const std::vector<CameraConfig>& cameras, Log& log);

}  // namespace chiral::robot
