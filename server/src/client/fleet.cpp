// SPDX-License-Identifier: Apache-2.0
#include <chiral/fleet.hpp>

#include "client/zenoh.hpp"
#include "net/uri.hpp"
#include "net/zenoh.hpp"
#include "net/zenoh_keys.hpp"

#include <algorithm>
#include <cstdint>
#include <tuple>

namespace chiral {

std::vector<FoundRobot> find_robots(const std::string& address, Duration patience, const ClientOptions& options) {
    const net::ZenohUri uri = net::parse_zenoh_uri(address);
    std::vector<FoundRobot> found;
    try {
        const net::ZenohSession session(client::zenoh_configuration(uri, options.bearer_token), options.zenoh_config_file);
        const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
        session.find_tokens(
            net::ZenohKeys{"**"}.robot_token(net::kEveryone),
            static_cast<std::uint64_t>(std::max<std::int64_t>(milliseconds, 1)), [&](const net::ZenohSample& sample) {
                const std::size_t behind = net::ZenohKeys{""}.robot_token("").size();
                const std::string_view key = sample.key(), id = sample.name();
                if (sample.gone() || key.size() < behind + id.size()) return;
                found.push_back({std::string(key.substr(0, key.size() - id.size() - behind)), std::string(id)});
            });
    } catch (const net::ZenohError& error) {
        throw ConnectionError(uri.text + ": " + client::no_zenoh_session(error.what(), options.bearer_token));
    }
    std::sort(found.begin(), found.end(),
              [](const FoundRobot& a, const FoundRobot& b) { return std::tie(a.prefix, a.id) < std::tie(b.prefix, b.id); });
    return found;
}

}  // namespace chiral
