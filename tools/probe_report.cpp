// SPDX-License-Identifier: Apache-2.0
#include "probe_report.hpp"

#include "slots_in_extra.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace chiral::tools {

namespace {

using Json = nlohmann::ordered_json;

std::string times(const std::vector<int>& shape) {
    std::string text;
    for (const int size : shape) text += (text.empty() ? "" : "x") + std::to_string(size);
    return text;
}

std::string bytes_text(double bytes) {
    if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes / 1e9);
    if (bytes >= 1e6) return fmt::format("{:.1f} MB", bytes / 1e6);
    if (bytes >= 1e3) return fmt::format("{:.1f} kB", bytes / 1e3);
    return fmt::format("{:.0f} B", bytes);
}

std::string dash_or(const std::optional<double>& value, int digits) {
    return value ? fmt::format("{:.{}f}", *value, digits) : "-";
}

std::size_t name_width(const ProbeStatistics& statistics) {
    std::size_t width = 6;
    for (const auto* tracks : {&statistics.cameras(), &statistics.proprios(), &statistics.slots()})
        for (const SourceTrack& track : *tracks) width = std::max(width, printable(track.name()).size());
    return std::min<std::size_t>(width, 32);
}

std::string source_row(const SourceTrack& track, std::size_t width) {
    std::string sequence = "-", age = "-", seen = "-", missed = "-", status = "-";
    if (track.known()) {
        if (track.seen() > 0) sequence = fmt::format("{}..{}", track.first_sequence(), track.last_sequence());
        if (const auto ages = track.age()) age = fmt::format("{:.1f} / {:.1f}", ages->p50 * 1e3, ages->max * 1e3);
        seen = std::to_string(track.seen());
        missed = std::to_string(track.missed());
        status = to_string(track.status());
    }
    return fmt::format("  {:<{}}  {:>15}  {:>7}  {:>17}  {:>7}  {:>7}  {}\n", printable(track.name()), width, sequence,
                       dash_or(track.rate(), 1), age, seen, missed, status);
}

Json quantiles_json(const std::optional<Quantiles>& seconds) {
    if (!seconds) return nullptr;
    return {{"min", seconds->min * 1e3}, {"p50", seconds->p50 * 1e3}, {"p90", seconds->p90 * 1e3},
            {"p99", seconds->p99 * 1e3}, {"max", seconds->max * 1e3}, {"mean", seconds->mean * 1e3}};
}

Json track_json(const SourceTrack& track) {
    if (!track.known())
        return {{"sequence_first", nullptr}, {"sequence_last", nullptr},
                {"rate_hz", nullptr},        {"age_ms", nullptr},
                {"seen", nullptr},           {"missed", nullptr},
                {"status", nullptr},         {"observations_by_status", nullptr}};
    Json by_status;
    for (const SourceStatus status :
         {SourceStatus::never, SourceStatus::fresh, SourceStatus::stale, SourceStatus::frozen, SourceStatus::ahead})
        by_status[to_string(status)] = track.observations(status);
    return {{"sequence_first", track.first_sequence()},
            {"sequence_last", track.last_sequence()},
            {"rate_hz", track.rate() ? Json(*track.rate()) : Json(nullptr)},
            {"age_ms", quantiles_json(track.age())},
            {"seen", track.seen()},
            {"missed", track.missed()},
            {"status", to_string(track.status())},
            {"observations_by_status", by_status}};
}

}  // namespace

std::string printable(const std::string& text) {
    constexpr std::size_t longest = 200;
    std::string shown;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        // Control characters of one byte, and those that UTF-8 writes as C2 80 to C2 9F.
        const bool two_byte_control = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
        shown += c < 0x20 || c == 0x7f || two_byte_control ? '?' : text[i];
        if (two_byte_control) ++i;
        if (shown.size() >= longest) return shown + "...";
    }
    return shown;
}

std::string metadata_table(const InfoMap& metadata) {
    std::string table = "metadata\n";
    if (metadata.empty()) return table + "  (none)\n";
    const std::map<std::string, std::string> sorted(metadata.begin(), metadata.end());
    std::size_t width = 0;
    for (const auto& [key, value] : sorted) width = std::max(width, std::min<std::size_t>(printable(key).size(), 32));
    for (const auto& [key, value] : sorted) table += fmt::format("  {:<{}}  {}\n", printable(key), width, printable(value));
    return table;
}

namespace {

// What the robot says of a stream's numbers: ", rad: shoulder, elbow".
std::string meaning_of(const std::string& stream, const InfoMap& metadata) {
    const auto said = metadata.find("chiral.sources");
    if (said == metadata.end()) return {};
    const Json sources = Json::parse(said->second, nullptr, false);
    if (!sources.is_object()) return {};
    const Json streams = sources.value("proprios", Json::object());
    const Json own = streams.is_object() ? streams.value(stream, Json::object()) : Json::object();
    if (!own.is_object()) return {};
    std::string text;
    if (own.contains("unit") && own["unit"].is_string()) text += ", " + own["unit"].get<std::string>();
    if (own.contains("elements") && own["elements"].is_array()) {
        std::string names;
        for (const Json& name : own["elements"])
            if (name.is_string()) names += (names.empty() ? ": " : ", ") + name.get<std::string>();
        text += names;
    }
    return printable(text);
}

}  // namespace

std::string shape_table(const Observation& obs, const InfoMap& metadata) {
    std::string table = "sources\n";
    std::size_t width = 6, total = 0;
    const std::vector<SlotInfo> slots = slots_in(obs.extra);
    for (const SlotInfo& slot : slots) width = std::max(width, printable(slot.name).size());
    for (const CameraInfo& camera : obs.cameras) width = std::max(width, printable(camera.name).size());
    for (const ProprioInfo& proprio : obs.proprios) width = std::max(width, printable(proprio.name).size());
    for (const CameraInfo& camera : obs.cameras) {
        table += fmt::format("  {:<{}}  image {} {}", printable(camera.name), width, times(camera.image_shape),
                             printable(camera.image_dtype));
        if (camera.has_depth)
            table += fmt::format(", depth {} {}{}", times(camera.depth_shape), printable(camera.depth_dtype),
                                 camera.depth_unit > 0 ? fmt::format(" in {:g} m", camera.depth_unit) : std::string());
        table += '\n';
        total += camera.image.size() + camera.depth_data.size();
    }
    for (const ProprioInfo& proprio : obs.proprios) {
        table += fmt::format("  {:<{}}  {} float32{}\n", printable(proprio.name), width, proprio.data.size(),
                             meaning_of(proprio.name, metadata));
        total += proprio.data.size() * sizeof(float);
    }
    for (const SlotInfo& slot : slots) {
        table +=
            fmt::format("  {:<{}}  slot {} {}\n", printable(slot.name), width, times(slot.shape), to_string(slot.dtype));
        total += slot.data.size();
    }
    if (obs.cameras.empty() && obs.proprios.empty() && slots.empty()) return table + "  (none)\n";
    return table + fmt::format("  {} per observation\n", bytes_text(static_cast<double>(total)));
}

std::string live_line(const ProbeResult& result, const std::optional<Quantiles>& recent, double recent_rate,
                      double recent_bytes_per_second) {
    return fmt::format("{:6.0f} s  {} observations  {:.1f}/s  round trip {} ms  {}/s", result.seconds,
                       result.statistics.observations(), recent_rate,
                       recent ? fmt::format("{:.2f}", recent->p50 * 1e3) : "-", bytes_text(recent_bytes_per_second));
}

std::string summary(const ProbeResult& result) {
    const ProbeStatistics& statistics = result.statistics;
    const double seconds = result.seconds > 0.0 ? result.seconds : 1.0;
    const auto count = static_cast<double>(statistics.observations());
    std::string text = fmt::format("observations  {} in {:.2f} s, {:.1f}/s, {}/s\n", statistics.observations(),
                                   result.seconds, count / seconds, bytes_text(static_cast<double>(result.bytes) / seconds));
    if (const auto trip = statistics.round_trips())
        text += fmt::format("round trip    min {:.2f}  p50 {:.2f}  p90 {:.2f}  p99 {:.2f}  max {:.2f} ms\n", trip->min * 1e3,
                            trip->p50 * 1e3, trip->p90 * 1e3, trip->p99 * 1e3, trip->max * 1e3);
    if (result.actions > 0)
        text += fmt::format("actions       {} sent, all zeros, {:.1f}/s\n", result.actions,
                            static_cast<double>(result.actions) / seconds);
    if (statistics.observations() == 0) return text;

    const std::size_t width = name_width(statistics);
    text += fmt::format("\n  {:<{}}  {:>15}  {:>7}  {:>17}  {:>7}  {:>7}  {}\n", "source", width, "sequence", "Hz",
                        "age p50 / max, ms", "seen", "missed", "status");
    bool known = true;
    for (const auto* tracks : {&statistics.cameras(), &statistics.proprios(), &statistics.slots()}) {
        for (const SourceTrack& track : *tracks) {
            text += source_row(track, width);
            known = known && track.known();
        }
    }
    if (!known) text += "  -: the server does not send it\n";
    return text;
}

std::string to_json(const ProbeResult& result) {
    const ProbeStatistics& statistics = result.statistics;
    const double seconds = result.seconds > 0.0 ? result.seconds : 1.0;
    Json json = {{"uri", result.uri},
                 {"dialect", result.legacy ? "legacy" : "decoupled"},
                 {"error", result.error.empty() ? Json(nullptr) : Json(result.error)},
                 {"connect_ms", result.connect_seconds * 1e3},
                 {"seconds", result.seconds},
                 {"observations", statistics.observations()},
                 {"observations_per_s", static_cast<double>(statistics.observations()) / seconds},
                 {"bytes", result.bytes},
                 {"megabytes_per_s", static_cast<double>(result.bytes) / 1e6 / seconds},
                 {"actions", result.actions},
                 {"round_trip_ms", quantiles_json(statistics.round_trips())}};
    if (result.documented)
        json["want"] = {{"words", result.want},
                        {"documented_bytes", result.documented->bytes},
                        {"documented_round_trip_ms", 1e3 * result.documented->seconds}};
    else json["want"] = nullptr;
    json["metadata"] = std::map<std::string, std::string>(result.metadata.begin(), result.metadata.end());

    json["cameras"] = Json::array();
    for (std::size_t i = 0; i < statistics.cameras().size() && i < result.last.cameras.size(); ++i) {
        const CameraInfo& camera = result.last.cameras[i];
        Json entry = {{"name", camera.name},
                      {"image_shape", camera.image_shape},
                      {"image_dtype", camera.image_dtype},
                      {"depth_shape", camera.has_depth ? Json(camera.depth_shape) : Json(nullptr)},
                      {"depth_dtype", camera.has_depth ? Json(camera.depth_dtype) : Json(nullptr)},
                      {"depth_unit", camera.depth_unit > 0 ? Json(camera.depth_unit) : Json(nullptr)}};
        entry.update(track_json(statistics.cameras()[i]));
        json["cameras"].push_back(entry);
    }
    json["proprios"] = Json::array();
    for (std::size_t i = 0; i < statistics.proprios().size() && i < result.last.proprios.size(); ++i) {
        const ProprioInfo& proprio = result.last.proprios[i];
        Json entry = {{"name", proprio.name}, {"size", proprio.data.size()}, {"dtype", "float32"}};
        entry.update(track_json(statistics.proprios()[i]));
        json["proprios"].push_back(entry);
    }
    json["slots"] = Json::array();
    const std::vector<SlotInfo> slots = slots_in(result.last.extra);
    for (std::size_t i = 0; i < statistics.slots().size() && i < slots.size(); ++i) {
        Json entry = {{"name", slots[i].name}, {"shape", slots[i].shape}, {"dtype", to_string(slots[i].dtype)}};
        entry.update(track_json(statistics.slots()[i]));
        json["slots"].push_back(entry);
    }
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace chiral::tools
