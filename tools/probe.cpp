// SPDX-License-Identifier: Apache-2.0
// chiral-probe: asks a policy server for observations and tells what it serves, how fast, and how current it is.
#include "bearer_token.hpp"
#include "command_line.hpp"
#include "pace.hpp"
#include "probe_comparison.hpp"
#include "probe_report.hpp"
#include "save_observation.hpp"
#include "want_text.hpp"

#include <chiral/client.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

namespace {

using namespace chiral;
using namespace chiral::tools;

struct ProbeOptions {
    std::string uri;
    std::uint64_t count = 100;  // 0: no limit
    double seconds = 0.0;       // 0: no limit
    double hz = 0.0;            // 0: as fast as the server answers
    bool legacy = false;
    bool act = false;
    std::string json, save;
    std::string token, token_file, ca, zenoh_config;
    std::string want_text;
    std::optional<Want> want;
    bool insecure = false;
    double timeout = 5.0;
};

constexpr const char* examples =
    R"(Only --act and --legacy send actions. They are zeros, which a real robot may move to: look before you use them.

Examples:
  chiral-probe ws://robot:8765                    what does it serve, and how fast?
  chiral-probe ws://robot:8765 --save look        see what its cameras see: PNG files in folder look
  chiral-probe ws://robot:8765 --hz 30 --seconds 60 --json minute.json
                                                  is it current at the rate of a policy, for a minute?
  chiral-probe ws://127.0.0.1:8765 --legacy       steps instead of observation requests
  chiral-probe ws://robot:8765 --want 224x224,jpeg,depth:millimetres
                                                  what would small pictures bring, and cost?
  chiral-probe ws://robot:8765/observe            look on while another client is in control
  chiral-probe wss://robot:8765 --ca cert.pem --token-file token
                                                  over TLS, to a robot that asks for a token

No robot at hand? Start chiral-serve in another terminal.)";

// Checks without the text that CLI::Range puts into the help.
CLI::Validator in_range(double lowest, double highest) { return CLI::Range(lowest, highest).description(""); }

void add_access_options(CLI::App& app, ProbeOptions& options) {
    app.add_option("--token", options.token,
                   "Token that the server asks for. Other users of this machine can see command\n"
                   "lines: --token-file, or CHIRAL_TOKEN in the environment, keep it secret")
        ->type_name("TOKEN")
        ->group("Access");
    app.add_option("--token-file", options.token_file, "File whose first line is the token")
        ->type_name("FILE")
        ->group("Access");
    app.add_option("--ca", options.ca,
                   "wss:// only: trust servers with a certificate from this file or signed by one\n"
                   "in it (PEM), instead of those that the system trusts")
        ->type_name("FILE")
        ->group("Access");
    app.add_flag("--insecure", options.insecure,
                 "wss:// only: talk to the server whoever it is; it, or anybody in between, gets the\ntoken")
        ->group("Access");
    app.add_option("--zenoh-config", options.zenoh_config,
                   "zenoh://, tcp/ and tls/ only: Zenoh's own configuration (JSON5), which counts where\nit says something")
        ->type_name("FILE")
        ->group("Access");
}

bool parse(int argc, char** argv, ProbeOptions& options, int& exit_code) {
    CLI::App app(
        "Asks a policy server for observations and reports rate, bandwidth, round trips, and how current each of its\n"
        "cameras and proprio streams is.",
        "chiral-probe");
    app.footer(std::string(exit_codes) + "\n\n" + examples);
    app.get_formatter()->column_width(20);
    app.add_option("URI", options.uri,
                   "Server to ask: ws://HOST[:PORT][/observe], wss:// for TLS, unix:///PATH on the same\nmachine, or "
                   "zenoh://HOST[:PORT][/PREFIX]")
        ->required()
        ->type_name("");
    CLI::Option* count =
        app.add_option("--count", options.count, "Observations to ask for; 0: no limit [100; 0 with --seconds]")
            ->type_name("N");
    app.add_option("--seconds", options.seconds, "Time to ask for; 0: no limit [0]")
        ->check(in_range(0.0, 1e9))
        ->type_name("S");
    app.add_option("--hz", options.hz, "Requests per second; 0: the next as soon as the last is answered [0]")
        ->check(in_range(0.0, 10000.0))
        ->type_name("R");
    app.add_flag("--legacy", options.legacy, "Speak the legacy dialect: reset, then steps with zero actions");
    app.add_flag("--act", options.act, "Send zero actions alongside, at the server's control_hz");
    app.add_option("--json", options.json, "Write all numbers to this file")->type_name("FILE");
    app.add_option("--save", options.save,
                   "Write the last observation into this folder: images as PNG, depth as\n"
                   "16-bit PNG in millimetres, the rest as JSON")
        ->type_name("DIR");
    app.add_option("--want", options.want_text,
                   "What to ask for instead of everything: WIDTHxHEIGHT, stretch, crop or pad,\n"
                   "jpeg[:QUALITY], png, zstd or none, depth:millimetres, ..., with commas between")
        ->type_name("WORDS");
    app.add_option("--timeout", options.timeout, "Seconds to wait for the server to come up [5]")
        ->check(in_range(0.0, 1e6))
        ->type_name("S");
    add_access_options(app, options);
    if (const std::optional<int> over = parse_command_line(app, argc, argv)) {
        exit_code = *over;
        return false;
    }
    try {
        if (!options.want_text.empty()) options.want = parse_want(options.want_text);
        if (options.legacy && options.want) throw std::invalid_argument("--want: not for --legacy");
        if (options.legacy && options.act) throw std::invalid_argument("--act: --legacy sends actions already");
        if (options.insecure && !options.ca.empty())
            throw std::invalid_argument("--insecure: does not look at what --ca trusts");
        options.token = bearer_token(options.token, options.token_file);
    } catch (const std::invalid_argument& error) {
        exit_code = wrong_usage("chiral-probe", error.what());
        return false;
    }
    if (count->count() == 0 && options.seconds > 0.0) options.count = 0;
    return true;
}

Duration duration_of(double seconds) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)); }

double seconds_since(TimePoint start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Ends the run at Ctrl-C. An answer that is under way is waited for a moment; then the connection is closed under it.
class Interruption {
public:
    Interruption() {
        sigemptyset(&signals_);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals_, signal);
        pthread_sigmask(SIG_BLOCK, &signals_, nullptr);  // in all threads that are made from now on
        thread_ = std::jthread([this](const std::stop_token& over) { watch(over); });
    }
    Interruption(const Interruption&) = delete;

    std::stop_token token() const { return run_.get_token(); }
    bool happened() const { return run_.stop_requested(); }
    /// Once connected: the client whose connection is closed if an answer does not come. Null before it is destroyed.
    void guard(PolicyClient* client) {
        const std::lock_guard lock(mutex_);
        client_ = client;
        finished_ = client == nullptr;
    }

private:
    void watch(const std::stop_token& over) {
        const timespec moment{0, 50'000'000};
        while (!over.stop_requested())
            if (sigtimedwait(&signals_, nullptr, &moment) > 0) break;
        if (over.stop_requested()) return;
        run_.request_stop();
        const TimePoint deadline = Clock::now() + std::chrono::seconds(1);
        while (!over.stop_requested() && is_guarded() && Clock::now() < deadline)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        const std::lock_guard lock(mutex_);
        if (over.stop_requested()) return;
        if (client_ != nullptr) {
            client_->close();
        } else if (!finished_) {
            std::fputs("\nchiral-probe: interrupted before it was connected\n", stderr);
            _exit(kInterrupted);
        }
    }
    bool is_guarded() {
        const std::lock_guard lock(mutex_);
        return client_ != nullptr;
    }

    sigset_t signals_{};
    std::stop_source run_;
    std::mutex mutex_;
    PolicyClient* client_{nullptr};
    bool finished_{false};  // there was one
    std::jthread thread_;   // last: ends before what it uses
};

std::optional<double> number_in(const InfoMap& metadata, const std::string& key) {
    const auto found = metadata.find(key);
    if (found == metadata.end()) return {};
    const std::string& text = found->second;
    double value = 0.0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || rest != text.data() + text.size() || !std::isfinite(value)) return {};
    return value;
}

// Zeros in the shape that the server's metadata asks for; without it, one value for each of its first proprio stream.
Action zero_action(const InfoMap& metadata, const Observation& obs) {
    const auto size = [&](const char* key, std::size_t otherwise) {
        const auto value = number_in(metadata, key);
        return value && *value >= 1.0 && *value <= 4096.0 ? static_cast<int>(*value) : static_cast<int>(otherwise);
    };
    Action action;
    action.N = size("action_N", 1);
    action.D = size("action_D", obs.proprios.empty() ? 7 : std::max<std::size_t>(1, obs.proprios.front().data.size()));
    action.data.assign(static_cast<std::size_t>(action.N) * static_cast<std::size_t>(action.D), 0.0f);
    return action;
}

// Sends zero actions at a steady rate while it lives.
class Actor {
public:
    Actor(PolicyClient& client, Action action, double hz)
        : thread_([this, &client, action = std::move(action), hz](const std::stop_token& stop) {
              Pace pace(hz);
              try {
                  while (pace.wait(stop)) {
                      client.apply_action(action);
                      sent_.fetch_add(1, std::memory_order_relaxed);
                  }
              } catch (const ConnectionError&) {
                  // The requests of the main thread meet the same end, and tell of it.
              }
          }) {}
    std::uint64_t sent() const { return sent_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> sent_{0};
    std::jthread thread_;
};

// A line that is written over once a second, where somebody watches.
class LiveDisplay {
public:
    LiveDisplay() : shown_(isatty(STDOUT_FILENO) != 0), last_(Clock::now()) {}
    ~LiveDisplay() { clear(); }
    LiveDisplay(const LiveDisplay&) = delete;

    void update(ProbeResult& result) {
        const double elapsed = seconds_since(last_);
        if (!shown_ || elapsed < 1.0) return;
        const std::uint64_t observations = result.statistics.observations();
        const double rate = static_cast<double>(observations - observations_) / elapsed;
        const double bandwidth = static_cast<double>(result.bytes - bytes_) / elapsed;
        fmt::print("\r\033[K{}", live_line(result, result.statistics.recent_round_trips(), rate, bandwidth));
        std::fflush(stdout);
        written_ = true;
        observations_ = observations;
        bytes_ = result.bytes;
        last_ = Clock::now();
    }
    void clear() {
        if (std::exchange(written_, false)) fmt::print("\r\033[K");
        std::fflush(stdout);
    }

private:
    const bool shown_;
    bool written_{false};
    TimePoint last_;
    std::uint64_t observations_{0}, bytes_{0};
};

// Asks until the count, the time, or the user says stop. Throws ConnectionError; `result` then holds what came before.
void measure(PolicyClient& client, const ProbeOptions& options, const Interruption& interruption, ProbeResult& result) {
    const std::uint64_t bytes_before = client.stats().bytes_received;
    const TimePoint start = Clock::now();
    LiveDisplay display;
    std::optional<Pace> pace;
    if (options.hz > 0.0) pace.emplace(options.hz);
    std::optional<Actor> actor;
    StepResult step;
    Action action;

    while (!interruption.happened()) {
        const TimePoint asked = Clock::now();
        if (options.legacy && result.statistics.observations() > 0) {
            client.step(action, step);
            std::swap(result.last, step.obs);
            ++result.actions;
        } else if (options.legacy) {
            result.last = client.reset().first;
            action = zero_action(result.metadata, result.last);
        } else if (options.want) {
            client.get_obs(result.last, *options.want);
        } else {
            client.get_obs(result.last);
        }
        result.statistics.add(result.last, seconds_since(asked));
        result.seconds = seconds_since(start);
        result.bytes = client.stats().bytes_received - bytes_before;

        if (result.statistics.observations() == 1) {
            display.clear();
            fmt::print("{}\n", shape_table(result.last, result.metadata));
            std::fflush(stdout);
            if (options.act)
                actor.emplace(client, zero_action(result.metadata, result.last),
                              std::clamp(number_in(result.metadata, "control_hz").value_or(20.0), 0.1, 1000.0));
        }
        if (actor) result.actions = actor->sent();
        display.update(result);
        if (options.count > 0 && result.statistics.observations() >= options.count) return;
        if (options.seconds > 0.0 && result.seconds >= options.seconds) return;
        if (pace && !pace->wait(interruption.token())) return;
    }
}

bool observes(const std::string& uri) { return uri.substr(0, uri.find('?')).ends_with("/observe"); }

std::string advice(const ProbeOptions& options, const ProbeResult& result, bool connected) {
    if (result.error.find("HTTP 503") != std::string::npos)
        return "A server talks to one client at a time: end the other one, or wait for it. With /observe behind the address "
               "you may look on, if the server lets you.";
    if (result.error.find("HTTP 401") != std::string::npos)
        return options.token.empty() ? "Give the token with --token-file, or in the environment as CHIRAL_TOKEN."
                                     : "The token that was sent is not the server's.";
    if (result.error.find("certificate is not trusted") != std::string::npos)
        return "The file with the certificate, or with that of its authority, is given with --ca. --insecure looks at no "
               "certificate: whoever is in between can then read and change everything.";
    if ((options.legacy || options.act) && observes(options.uri))
        return "Observers may only look: leave out --legacy and --act, or leave /observe out of the address to take "
               "control.";
    if (!connected)
        return fmt::format(
            "Is the server running, and is {} its address? A longer --timeout waits for one that is starting; "
            "chiral-serve starts a simulated robot to try.",
            printable(without_token(options.uri)));
    if (result.statistics.observations() > 0)
        return "What came until then is summed up here; the server's log may say why it ended.";
    return options.legacy ? "Does the server speak the legacy dialect? Try without --legacy. The server's log may say more."
                          : "Is it a server for legacy clients only? Try --legacy. The server's log may say more.";
}

// Runs the probe; how it ended.
ExitCode probe(const ProbeOptions& options, ProbeResult& result) {
    Interruption interruption;
    result.uri = without_token(options.uri);
    result.legacy = options.legacy;
    result.want = options.want_text;

    ClientOptions client_options;
    client_options.connect_timeout = duration_of(options.timeout);
    client_options.log = [](const std::string& line) { fmt::print(stderr, "{}\n", printable(line)); };
    client_options.bearer_token = options.token;
    client_options.zenoh_config_file = options.zenoh_config;
    client_options.tls_ca_file = options.ca;
    client_options.tls_verify = !options.insecure;
    if (options.insecure)
        fmt::print(stderr,
                   "chiral-probe: WARNING: --insecure: the server's certificate is not looked at. Whoever answers, or is "
                   "in between, gets the token{} and can change everything that is shown here.\n",
                   options.token.empty() ? "" : " that you gave");
    PolicyClient client(options.uri, client_options);
    bool connected = false;
    ExitCode ended = kOk;
    try {
        const TimePoint start = Clock::now();
        client.connect();
        connected = true;
        interruption.guard(&client);
        result.connect_seconds = seconds_since(start);
        fmt::print("connected to {} in {:.1f} ms\n\n", printable(result.uri), result.connect_seconds * 1e3);
        std::fflush(stdout);
        result.metadata = client.get_metadata();
        fmt::print("{}\n", metadata_table(result.metadata));
        if (options.want) result.documented = cost_as_documented(client, interruption.token());
        measure(client, options, interruption, result);
    } catch (const std::invalid_argument& error) {
        if (connected) throw;
        result.error = error.what();
        ended = kUsage;
        const bool address = result.error.starts_with("address");
        fmt::print(stderr, "chiral-probe: {}{}\n", printable(error.what()), address ? ", such as ws://127.0.0.1:8765" : "");
    } catch (const ConnectionError& error) {
        if (!interruption.happened()) {
            result.error = error.what();
            ended = kFailed;
            fmt::print(stderr, "chiral-probe: {}\n{}\n", printable(error.what()), advice(options, result, connected));
        }
    }
    interruption.guard(nullptr);
    client.close();
    if (connected) fmt::print("{}", summary(result));
    if (connected) fmt::print("{}", comparison(result));
    // Without a limit, Ctrl-C is how it is done.
    const bool limited = options.count > 0 || options.seconds > 0.0;
    return ended == kOk && limited && interruption.happened() ? kInterrupted : ended;
}

bool write_json(const std::string& path, const ProbeResult& result) {
    std::ofstream file(path, std::ios::binary);
    file << to_json(result);
    file.close();
    if (file) return true;
    fmt::print(stderr, "chiral-probe: cannot write {}: {}\n", path, std::strerror(errno));
    return false;
}

bool save(const std::string& folder, const ProbeResult& result) {
    if (result.statistics.observations() == 0) {
        fmt::print(stderr, "chiral-probe: nothing to save: no observation came\n");
        return false;
    }
    fmt::print("\nsaved the last observation:\n");
    for (const auto& path : save_observation(result.last, folder)) fmt::print("  {}\n", path.string());
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    ProbeOptions options;
    int exit_code = kOk;
    if (!parse(argc, argv, options, exit_code)) return exit_code;
    try {
        ProbeResult result;
        ExitCode ended = probe(options, result);
        if (ended == kUsage) return ended;
        if (!options.json.empty() && !write_json(options.json, result)) ended = kFailed;
        if (!options.save.empty() && !save(options.save, result)) ended = kFailed;
        return ended;
    } catch (const std::exception& error) {
        std::fflush(stdout);
        fmt::print(stderr, "chiral-probe: {}\n", error.what());
    }
    return kFailed;
}
