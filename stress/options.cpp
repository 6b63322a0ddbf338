// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "command_line.hpp"
#include "verdict.hpp"

#include <chiral/core/hazard.hpp>
#include <chiral/guests.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>

namespace chiral::stress {
namespace {

struct Size {
    int width{640};
    int height{480};
};

// "640x480"
std::optional<Size> parse_size(const std::string& text) {
    Size size;
    char rest = 0;
    if (std::sscanf(text.c_str(), "%5dx%5d%c", &size.width, &size.height, &rest) != 2) return std::nullopt;
    // The first 8 bytes of an image name its frame.
    if (size.width < 4 || size.height < 1 || size.width > 8192 || size.height > 8192) return std::nullopt;
    return size;
}

CameraConfig camera(int index, Size size, bool depth) {
    CameraConfig config;
    config.name = fmt::format("cam{}", index);
    config.width = size.width;
    config.height = size.height;
    config.has_depth = depth;
    return config;
}

// CLI11 looks at the last of an option's transforms first: IsMember, whose message names the words alone.
const std::map<std::string, Transport> transports{
    {"inproc", Transport::inproc}, {"ws", Transport::ws}, {"local", Transport::local}};
const std::map<std::string, Writes> writes{{"frame", Writes::frame}, {"fields", Writes::fields}};

// Whose elements can be given to it: all but those that have no number for a frame.
CLI::Validator dtype_among(std::vector<DType> types) {
    std::vector<std::string> names;
    for (const DType type : types) names.emplace_back(to_string(type));
    return CLI::IsMember(names);
}

std::vector<DType> numeric_types() {
    std::vector<DType> types;
    for (std::size_t i = 0; i < dtype_count; ++i)
        if (static_cast<DType>(i) != DType::boolean) types.push_back(static_cast<DType>(i));
    return types;
}

std::string describe_engines(std::span<const EngineEntry> engines) {
    std::string all;
    for (const EngineEntry& entry : engines) all += fmt::format("  {:<15}{}\n", entry.name, entry.what);
    return all;
}

std::string needed(const FaultEntry& fault) {
    switch (fault.needs) {
        case Needs::ws: return "--transport ws";
        case Needs::local: return "--transport local";
        case Needs::nothing: break;
    }
    return {};
}

bool happens_over(Transport transport, Needs needs) noexcept {
    return needs == Needs::nothing || (needs == Needs::ws && transport == Transport::ws) ||
           (needs == Needs::local && transport == Transport::local);
}

std::string describe_faults() {
    std::string all;
    for (const FaultEntry& fault : faults())
        all += fmt::format("  {:<16}{}{}\n", fault.name, fault.what,
                           fault.needs == Needs::nothing ? "" : fmt::format(" ({})", needed(fault)));
    return all;
}

std::vector<std::string> known_engines() {
    std::vector<std::string> names;
    for (const auto& some : {engines(), broken_engines()})
        for (const EngineEntry& entry : some) names.emplace_back(entry.name);
    return names;
}

std::vector<std::string> known_faults() {
    std::vector<std::string> names;
    for (const FaultEntry& fault : faults()) names.emplace_back(fault.name);
    names.emplace_back("all");
    return names;
}

// Names that there are none of are left out. All are those that may happen over that transport.
std::vector<FaultEntry> chosen_faults(const std::vector<std::string>& names, Transport transport) {
    std::vector<FaultEntry> chosen;
    for (const std::string& name : names)
        for (const FaultEntry& fault : faults())
            if (name == fault.name || (name == "all" && happens_over(transport, fault.needs))) chosen.push_back(fault);
    return chosen;
}

std::string details() {
    return fmt::format(
        "Every frame carries its number in each 8 bytes of its image, in each depth, in K, T and the capture time, so\n"
        "a reader can tell what lies where. Every snapshot is checked for all numbers and times, K, T, proprios, the\n"
        "engine's own guards and a moving sample of pixels. As many as fit into an eighth of the time are checked in\n"
        "full, and twice a second one is held for --hold-ms first. Observations over ws are all checked in full.\n\n"
        "When it fails:\n{}\n"
        "Engines:\n{}"
        "Engines that are broken on purpose, to see that it fails, and what must be found:\n{}\n"
        "Faults. The run goes on around them with all its checks, and each must really happen, leave memory flat, and be\n"
        "followed by a newcomer that gets a fresh, coherent observation:\n{}\n"
        "{}\n\n"
        "Examples:\n"
        "  chiral-stress                                          10 s, two 640x480 RGB-D and one 1280x720 RGB, one reader\n"
        "  chiral-stress --transport ws --seconds 60 --json r.json   the same, and a client over the loopback\n"
        "  chiral-stress --cameras 8 --readers 4 --camera-hz 60   many cameras, many readers\n"
        "  chiral-stress --engine mutex                           what the documented design gives instead\n"
        "  chiral-stress --writes fields                          update_image, update_depth, ... one by one\n"
        "  chiral-stress --transport ws --seconds 60 --fault all  all that may go wrong, one after the other\n"
        "  chiral-stress --transport local --fault all            the same with clients that share the memory\n"
        "  chiral-stress --transport ws --listen 8765             the server's clients are yours, whatever they do\n"
        "  chiral-stress --depth-dtype uint16 --transport ws      depth as a RealSense has it\n"
        "  chiral-stress --rt --seconds 60                        as a real-time robot: how late do writers wake?\n"
        "  chiral-stress --size 64x48 --seconds 2                 small enough for a sanitizer build\n",
        describe_rules(), describe_engines(engines()), describe_engines(broken_engines()), describe_faults(),
        tools::exit_codes);
}

}  // namespace

bool Options::has_local_faults() const noexcept {
    return std::ranges::any_of(faults, [](const FaultEntry& fault) { return fault.needs == Needs::local; });
}

int Options::direct_readers() const noexcept {
    if (transport != Transport::local || !is_lockfree()) return 0;
    return has_local_faults() ? 2 : 1;
}

int Options::most_readers() const noexcept {
    constexpr int of_a_server = 3, of_a_local_client = 2;
    int others = faults.empty() ? 0 : kFaultReaders;
    if (serves(transport)) others += of_a_server + (listen ? kObservers : 0);
    if (transport == Transport::local) others += of_a_local_client * (has_local_faults() ? 2 : 1);
    return core::kMaxReaders - others - kGuestPins * direct_readers();
}

std::optional<Options> parse_options(int argc, const char* const* argv, int& exit_code) {
    CLI::App app{"Puts the sensor buffers under load and checks every look: no tearing, no stalls, or where they are."};
    app.name("chiral-stress");
    app.footer(details);
    app.get_formatter()->column_width(24);

    Options options;
    std::optional<int> cameras;
    std::optional<std::string> size_text;
    bool depth_flag = false;
    std::string image_dtype = "uint8", depth_dtype = "float32", proprio_dtype = "float32";
    int proprios = 3;
    std::string engine = "lockfree";
    std::vector<std::string> fault_names;

    app.add_option("--seconds", options.seconds, "How long to run")->check(CLI::Range(0.1, 1e6))->capture_default_str();
    app.add_option("--cameras", cameras,
                   "Number of cameras, RGB-D of --size. Default: two 640x480 RGB-D and one 1280x720 RGB")
        ->check(CLI::Range(0, 32));
    app.add_option("--size", size_text, "WxH of all cameras, for example 640x480");
    CLI::Option* const depth_option =
        app.add_flag("--depth,!--no-depth", depth_flag, "All cameras with a depth map, or none");
    app.add_option("--image-dtype", image_dtype, "Type of the elements of images, by numpy's name")
        ->check(dtype_among(numeric_types()))
        ->capture_default_str();
    app.add_option("--depth-dtype", depth_dtype, "Type of the elements of depth maps")
        ->check(dtype_among(numeric_types()))
        ->capture_default_str();
    app.add_option("--proprio-dtype", proprio_dtype, "Type of the elements of streams: one that counts to 2^24")
        ->check(dtype_among({DType::float32, DType::float64, DType::int32, DType::uint32, DType::int64, DType::uint64}))
        ->capture_default_str();
    app.add_option("--proprios", proprios, "Number of proprio streams of 7 values")
        ->check(CLI::Range(0, 32))
        ->capture_default_str();
    app.add_option("--camera-hz", options.camera_hz, "Frames a second of each camera")
        ->check(CLI::Range(0.1, 5000.0))
        ->capture_default_str();
    app.add_option("--proprio-hz", options.proprio_hz, "Samples a second of each stream")
        ->check(CLI::Range(0.1, 5000.0))
        ->capture_default_str();
    app.add_option("--readers", options.readers, "Readers in this process")->check(CLI::Range(1, 14))->capture_default_str();
    app.add_option("--reader-hz", options.reader_hz, "Looks a second of each of them; 0: as fast as it can")
        ->check(CLI::Range(0.0, 1e6))
        ->capture_default_str();
    app.add_option("--hold-ms", options.hold_ms, "How long a reader holds a look, twice a second; 0: never")
        ->check(CLI::Range(0.0, 60000.0))
        ->capture_default_str();
    app.add_option(
           "--transport", options.transport,
           "inproc: readers in this process only; ws: a server and a client over the loopback as well; local: the same "
           "over a local socket, with a client that is a process of its own, looks at the pixels in the server's memory, "
           "and pins some by itself")
        ->transform(CLI::Transformer(transports))
        ->transform(CLI::IsMember(transports))
        ->default_str("inproc")
        ->option_text("inproc|ws|local");
    app.add_option("--obs-hz", options.obs_hz, "Observations a second that the client asks for; 0: as fast as they come")
        ->check(CLI::Range(0.0, 10000.0))
        ->capture_default_str();
    app.add_option("--listen", options.listen,
                   "Let clients from outside in at this port of the loopback, 0: a free one; it is printed. The run's own "
                   "client then observes only, at 30 a second at most")
        ->check(CLI::Range(0, 65535))
        ->option_text("PORT");
    app.add_flag(
        "--rt", options.real_time,
        "Writers and their canaries run as on a real-time robot: SCHED_FIFO, pinned to all cores but the last, all memory "
        "locked. Needs root or limits that allow it; what to expect: docs/REALTIME.md");
    app.add_option("--writes", options.writes, "frame: a transaction per frame; fields: update_image, update_depth, ...")
        ->transform(CLI::Transformer(writes))
        ->transform(CLI::IsMember(writes))
        ->default_str("frame")
        ->option_text("frame|fields");
    app.add_option("--engine", engine, "What to put under stress, see below; list: print the names")->capture_default_str();
    app.add_option(
           "--fault", fault_names,
           "Do this while it runs, see below; may be repeated. all: one after the other, those of the transport; list: "
           "print the names")
        ->allow_extra_args(false)
        ->option_text("NAME");
    app.add_option("--json", options.json, "Write the results to this file");

    if (const std::optional<int> over = tools::parse_command_line(app, argc, argv)) {
        exit_code = *over;
        return std::nullopt;
    }

    if (engine == "list") {
        for (const std::string& name : known_engines()) fmt::print("{}\n", name);
        exit_code = 0;
        return std::nullopt;
    }
    if (std::ranges::find(fault_names, "list") != fault_names.end()) {
        for (const FaultEntry& fault : faults()) fmt::print("{}\n", fault.name);
        exit_code = 0;
        return std::nullopt;
    }
    exit_code = 2;
    options.engine = find_engine(engine);
    if (!options.engine) {
        fmt::print(stderr, "--engine: there is no engine '{}'{}; there are: {}\n", engine,
                   tools::did_you_mean(engine, known_engines()), fmt::join(known_engines(), ", "));
        return std::nullopt;
    }
    options.faults = chosen_faults(fault_names, options.transport);
    const std::vector<std::string> known = known_faults();
    for (const std::string& name : fault_names)
        if (std::ranges::find(known, name) == known.end()) {
            fmt::print(stderr, "--fault: there is no fault '{}'{}; there are: {}\n", name, tools::did_you_mean(name, known),
                       fmt::join(known, ", "));
            return std::nullopt;
        }
    if (!options.faults.empty() && (engine != "lockfree" || options.writes != Writes::frame)) {
        fmt::print(stderr, "--fault: needs --engine lockfree and --writes frame\n");
        return std::nullopt;
    }
    if (options.listen && (options.transport != Transport::ws || engine != "lockfree" || !options.faults.empty())) {
        fmt::print(stderr, "--listen: needs --transport ws and --engine lockfree, and no --fault\n");
        return std::nullopt;
    }
    for (const FaultEntry& fault : options.faults)
        if (!happens_over(options.transport, fault.needs)) {
            fmt::print(stderr, "--fault {}: needs {}\n", fault.name, needed(fault));
            return std::nullopt;
        }
    if (options.readers > options.most_readers()) {
        fmt::print(
            stderr,
            "--readers: {}, here at most {}, because the server, its clients and faults need some of the engine's {}\n",
            options.readers, options.most_readers(), core::kMaxReaders);
        return std::nullopt;
    }
    std::optional<Size> size;
    if (size_text) {
        size = parse_size(*size_text);
        if (!size) {
            fmt::print(stderr, "--size: '{}' is not WIDTHxHEIGHT from 4x1 to 8192x8192, for example 640x480\n", *size_text);
            return std::nullopt;
        }
    }
    const bool depth_given = depth_option->count() > 0;
    const bool depth = !depth_given || depth_flag;
    if (cameras) {
        for (int i = 0; i < *cameras; ++i) options.cameras.push_back(camera(i, size.value_or(Size{}), depth));
    } else {
        options.cameras = {camera(0, size.value_or(Size{}), depth), camera(1, size.value_or(Size{}), depth),
                           camera(2, size.value_or(Size{1280, 720}), depth_given && depth_flag)};
    }
    for (CameraConfig& each : options.cameras) {
        each.image_dtype = *parse_dtype(image_dtype);
        each.depth_dtype = *parse_dtype(depth_dtype);
    }
    for (int i = 0; i < proprios; ++i) {
        options.proprios.push_back({fmt::format("proprio{}", i), 7});
        options.proprios.back().dtype = *parse_dtype(proprio_dtype);
    }
    for (const FaultEntry& fault : options.faults)
        if (fault.needs_camera && options.cameras.empty()) {
            fmt::print(stderr, "--fault {}: needs a camera\n", fault.name);
            return std::nullopt;
        }
    if (options.cameras.empty() && options.proprios.empty()) {
        fmt::print(stderr, "there is nothing to do: give --cameras or --proprios\n");
        return std::nullopt;
    }
    return options;
}

}  // namespace chiral::stress
