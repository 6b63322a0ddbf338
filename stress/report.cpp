// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include "duration_text.hpp"
#include "machine.hpp"
#include "real_time.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace chiral::stress {
namespace {

using Json = nlohmann::ordered_json;

Json quantiles(const Histogram& h, double unit_ns) {
    const auto in = [&](Nanoseconds value) { return static_cast<double>(value.count()) / unit_ns; };
    return {
        {"p50", in(h.quantile(0.5))}, {"p99", in(h.quantile(0.99))}, {"p999", in(h.quantile(0.999))}, {"max", in(h.max())}};
}

Json beside_canary(const Histogram& writers, const Histogram& canaries) {
    Json json = quantiles(writers, 1e3);
    json["canary"] = quantiles(canaries, 1e3);
    return json;
}

// {"camera": f(cameras), "proprio": f(proprios)}
template <class Each>
Json per_kind(const RunResult& result, Each each) {
    return {{"camera", each(result.cameras)}, {"proprio", each(result.proprios)}};
}

Json sources(const RunResult& result) {
    Json list = Json::array();
    const auto add = [&](const char* kind, const std::vector<SourceCount>& counts) {
        for (const SourceCount& source : counts)
            list.push_back({{"name", source.name},
                            {"kind", kind},
                            {"published", source.published},
                            {"hz", source.hz},
                            {"canary_hz", source.canary_hz},
                            {"skipped_periods", source.skipped},
                            {"missed", source.missed},
                            {"missed_over_ws", source.missed_over_ws}});
    };
    add("camera", result.camera_sources);
    add("proprio", result.proprio_sources);
    return list;
}

Json configuration(const Options& options) {
    Json cameras = Json::array();
    for (const CameraConfig& camera : options.cameras)
        cameras.push_back({{"name", camera.name},
                           {"width", camera.width},
                           {"height", camera.height},
                           {"depth", camera.has_depth},
                           {"image_dtype", to_string(camera.image_dtype)},
                           {"depth_dtype", to_string(camera.depth_dtype)}});
    return {{"engine", options.engine->name},      {"transport", to_string(options.transport)},
            {"writes", to_string(options.writes)}, {"seconds", options.seconds},
            {"cameras", std::move(cameras)},       {"proprios", options.proprios.size()},
            {"camera_hz", options.camera_hz},      {"proprio_hz", options.proprio_hz},
            {"readers", options.readers},          {"reader_hz", options.reader_hz},
            {"hold_ms", options.hold_ms},          {"obs_hz", options.obs_hz},
            {"real_time", options.real_time}};
}

Json faults(const RunResult& result) {
    Json list = Json::array();
    for (const FaultOutcome& fault : result.faults)
        list.push_back({{"name", fault.name},
                        {"happened", fault.happened},
                        {"what", fault.measured},
                        {"problem", fault.problem},
                        {"resident_before_bytes", fault.resident_before},
                        {"resident_after_bytes", fault.resident_after},
                        {"resumed", fault.not_resumed.empty()}});
    return list;
}

Json client(const RunResult& result) {
    if (!result.observations) return nullptr;
    return {{"observations", result.observations->looks},
            {"bytes", result.ws.bytes},
            {"age_ms", quantiles(result.ws.age, 1e6)},
            {"images_older_than_3_periods", result.ws.old_images}};
}

Json direct(const RunResult& result) {
    if (!result.direct) return nullptr;
    return {{"looks", result.direct->looks},
            {"checked_in_full", result.direct->full_looks},
            {"held", result.direct_times.holds},
            {"look_us", quantiles(result.direct_times.look, 1e3)}};
}

Json server(const RunResult& result) {
    if (!result.server) return nullptr;
    const ServerStats& server = *result.server;
    return {{"connections", server.connections},
            {"observers", server.observers},
            {"refused", server.refused},
            {"observations", server.observations},
            {"bytes_sent", server.bytes_sent},
            {"actions_received", server.actions_received},
            {"actions_applied", server.actions_applied},
            {"half_open", server.half_open},
            {"longest_half_open_ms", std::chrono::duration<double, std::milli>(server.longest_half_open).count()},
            {"protocol_errors", server.protocol_errors},
            {"hook_errors", server.hook_errors},
            {"update_errors", server.update_errors},
            {"copied_observations", server.copied_observations}};
}

Json this_computer() {
    const Machine machine = this_machine();
    return {{"cpu", machine.cpu},           {"cores", machine.cores},
            {"kernel", machine.kernel},     {"preemption", machine.preemption},
            {"compiler", machine.compiler}, {"build", machine.build},
            {"commit", machine.commit}};
}

// How late writers woke and how long their updates took, each beside its canary.
Json times(const RunResult& result) {
    return {
        {"lateness_us",
         per_kind(result,
                  [](const KindTimes& kind) { return beside_canary(kind.writers.lateness, kind.canaries.lateness); })},
        {"update_us",
         per_kind(result,
                  [](const KindTimes& kind) { return beside_canary(kind.writers.update.wall, kind.canaries.update.wall); })},
        {"update_cpu_us",
         per_kind(result,
                  [](const KindTimes& kind) { return beside_canary(kind.writers.update.cpu, kind.canaries.update.cpu); })},
        {"update_sleeps", per_kind(result, [](const KindTimes& kind) {
             return Json{{"updates", kind.writers.update.calls()},
                         {"slept", kind.writers.update.slept},
                         {"canary", {{"updates", kind.canaries.update.calls()}, {"slept", kind.canaries.update.slept}}}};
         })}};
}

Json count_or_null(std::uint32_t value, std::uint32_t bound) { return bound ? Json(value) : Json(nullptr); }

std::string interrupted_after(const Options& options, const RunResult& result) {
    return result.interrupted ? fmt::format(" (interrupted after {:.1f} s of {:g} s)", result.seconds, options.seconds) : "";
}

std::string timings(const Options& options, const RunResult& result) {
    std::string all = fmt::format("\n{:26}{:>10}{:>10}{:>10}{:>10}\n", "how long", "p50", "p99", "p99.9", "max");
    const auto row = [&](std::string_view what, const Histogram& h) {
        all += fmt::format("{:26}{:>10}{:>10}{:>10}{:>10}\n", what, text(h.quantile(0.5)), text(h.quantile(0.99)),
                           text(h.quantile(0.999)), text(h.max()));
    };
    const auto kind = [&](const char* name, const KindTimes& times) {
        row(fmt::format("{} update", name), times.writers.update.wall);
        row("    canary", times.canaries.update.wall);
        row("  in cpu time", times.writers.update.cpu);
        row("    canary", times.canaries.update.cpu);
        row("  waking up late by", times.writers.lateness);
        row("    canary", times.canaries.lateness);
    };
    if (!options.cameras.empty()) kind("camera", result.cameras);
    if (!options.proprios.empty()) kind("proprio", result.proprios);
    row("taking a snapshot", result.readers.look);
    if (result.direct) row("a direct look at all", result.direct_times.look);
    if (result.observations) {
        row(fmt::format("{} round trip", to_string(options.transport)), result.ws.round_trip);
        row(fmt::format("age of an image over {}", to_string(options.transport)), result.ws.age);
    }
    return all;
}

}  // namespace

std::string describe(const Options& options) {
    std::string cameras;
    for (std::size_t i = 0; i < options.cameras.size();) {
        std::size_t same = i;
        const CameraConfig& camera = options.cameras[i];
        while (same < options.cameras.size() && options.cameras[same].width == camera.width &&
               options.cameras[same].height == camera.height && options.cameras[same].has_depth == camera.has_depth)
            ++same;
        cameras += fmt::format("{}{} x {}x{} {}", cameras.empty() ? "" : " + ", same - i, camera.width, camera.height,
                               camera.has_depth ? "RGB-D" : "RGB");
        i = same;
    }
    return fmt::format("engine {} ({} writes), {}; {} at {:g} Hz, {} proprios at {:g} Hz; {} reader{} {}{}{}; {:g} s\n",
                       options.engine->name, to_string(options.writes), to_string(options.transport),
                       cameras.empty() ? "no cameras" : cameras, options.camera_hz, options.proprios.size(),
                       options.proprio_hz, options.readers, options.readers == 1 ? "" : "s",
                       options.reader_hz > 0 ? fmt::format("at {:g} Hz", options.reader_hz) : "at full speed",
                       serves(options.transport)
                           ? fmt::format(", a {} client at {}", to_string(options.transport),
                                         options.obs_hz > 0 ? fmt::format("{:g} Hz", options.obs_hz) : "full speed")
                           : "",
                       options.real_time ? fmt::format("; real time on {} of {} cores, kernel's preemption: {}",
                                                       real_time_cores(), this_machine().cores, this_machine().preemption)
                                         : "",
                       options.seconds);
}

std::string table(const Options& options, const RunResult& result, const Verdict& verdict) {
    std::size_t width = 0;
    for (const Promise& promise : verdict.promises) width = std::max(width, promise.promise.size());
    std::string all = "\n";
    for (const Promise& promise : verdict.promises)
        all += fmt::format("{:4}  {:{}}  {}\n", promise.kept ? "ok" : "FAIL", promise.promise, width, promise.measured);
    if (!result.stuck) all += timings(options, result);
    if (verdict.pass()) return all + fmt::format("\nverdict: pass{}\n", interrupted_after(options, result));
    all += "\n";
    for (const std::string& failure : verdict.failures) all += fmt::format("  {}\n", failure);
    return all + fmt::format("\nverdict: fail: {}{}\n", verdict.failures.front(), interrupted_after(options, result));
}

std::string json(const Options& options, const RunResult& result, const Verdict& verdict) {
    const Tally nothing;
    Tally observed = result.observations ? *result.observations : nothing;
    if (result.direct) observed.merge(*result.direct);
    Json root = {
        {"verdict", verdict.pass() ? "pass" : "fail"},
        {"failures", verdict.failures},
        {"interrupted", result.interrupted},
        {"seconds", result.seconds},
        {"snapshots", result.looks.looks},
        {"snapshots_checked_in_full", result.looks.full_looks},
        {"snapshots_held", result.readers.holds},
        {"snapshots_per_second", static_cast<double>(result.looks.looks) / std::max(result.seconds, 1e-9)},
        {"torn", result.looks.torn + observed.torn},
        {"incoherent", result.looks.incoherent + observed.incoherent},
        {"backwards", result.looks.backwards + observed.backwards},
        {"stale", result.looks.stale + observed.stale},
        {"frozen", result.looks.frozen + observed.frozen},
        {"mixed", result.looks.mixed + observed.mixed},
        {"proprio_overruns", result.looks.overruns + observed.overruns},
        {"writer_max_steps", count_or_null(std::max(result.cameras.writers.max_steps, result.proprios.writers.max_steps),
                                           result.writer_step_bound)},
        {"writer_step_bound", count_or_null(result.writer_step_bound, result.writer_step_bound)},
        {"reader_max_steps", count_or_null(result.readers.max_steps, result.reader_step_bound)},
        {"reader_step_bound", count_or_null(result.reader_step_bound, result.reader_step_bound)},
        {"snapshot_us", quantiles(result.readers.look, 1e3)},
        {"rtt_ms", result.observations ? quantiles(result.ws.round_trip, 1e6) : Json(nullptr)},
        {"ws", client(result)},
        {"direct", direct(result)},
        {"server", server(result)},
        {"sources", sources(result)},
        {"faults", faults(result)},
        {"config", configuration(options)},
        {"machine", this_computer()},
    };
    root.update(times(result));
    return root.dump(2) + "\n";
}

namespace {

struct CloseFile {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

[[noreturn]] void fail(const std::string& path) {
    throw std::runtime_error(fmt::format("cannot write '{}': {}", path, std::strerror(errno)));
}

}  // namespace

void require_writable(const std::string& path) {
    if (!File(std::fopen(path.c_str(), "ab"))) fail(path);
}

void write_file(const std::string& path, const std::string& content) {
    File file(std::fopen(path.c_str(), "wb"));
    if (!file) fail(path);
    if (std::fwrite(content.data(), 1, content.size(), file.get()) != content.size()) fail(path);
    // What the buffer still holds meets a full disk only here.
    if (std::fclose(file.release()) != 0) fail(path);
}

}  // namespace chiral::stress
