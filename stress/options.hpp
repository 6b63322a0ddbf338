// SPDX-License-Identifier: Apache-2.0
// What the user asked for.
#pragma once

#include "engines.hpp"
#include "faults.hpp"

#include <optional>
#include <string>
#include <vector>

namespace chiral::stress {

enum class Transport : std::uint8_t { inproc, ws, local };

struct Options {
    double seconds{10.0};
    std::vector<CameraConfig> cameras;
    std::vector<ProprioConfig> proprios;
    double camera_hz{30.0};
    double proprio_hz{500.0};
    int readers{1};
    double reader_hz{0.0};
    double hold_ms{40.0};
    Transport transport{Transport::inproc};
    double obs_hz{30.0};
    bool real_time{false};      ///< writers and canaries before all others, on cores of their own, memory locked
    std::optional<int> listen;  ///< port for clients from outside
    Writes writes{Writes::frame};
    const EngineEntry* engine{nullptr};
    std::vector<FaultEntry> faults;  ///< one after the other
    std::string json;                ///< empty: none
    /// A thread that has not ended this long after it was told to is stuck. Not on the command line.
    std::chrono::seconds stop_timeout{30};

    bool is_lockfree() const noexcept { return engine->name == "lockfree"; }
    bool has_local_faults() const noexcept;
    /// Clients of the local socket that read directly: the run's own, and one of a fault.
    int direct_readers() const noexcept;
    /// The most --readers that leave enough of the engine's for everybody else.
    int most_readers() const noexcept;
};

constexpr const char* to_string(Transport transport) noexcept {
    return transport == Transport::ws ? "ws" : transport == Transport::local ? "local" : "inproc";
}
/// Whether there is a server, and a client of it.
constexpr bool serves(Transport transport) noexcept { return transport != Transport::inproc; }
constexpr const char* to_string(Writes writes) noexcept { return writes == Writes::frame ? "frame" : "fields"; }

/// Parses the command line. Empty if the program shall end with `exit_code`, because help or a list was asked for, or because
/// of a mistake; what there is to say has been printed then.
std::optional<Options> parse_options(int argc, const char* const* argv, int& exit_code);

}  // namespace chiral::stress
