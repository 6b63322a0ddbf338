// SPDX-License-Identifier: Apache-2.0
#include "http/metrics.hpp"

#include "net/number.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace chiral::http {
namespace {

class Text {
public:
    void head(const char* name, const char* type, const char* help) {
        name_ = std::string("chiral_") + name;
        text_ += "# HELP " + name_ + ' ' + help + "\n# TYPE " + name_ + ' ' + type + '\n';
    }
    void value(double value, const std::string& labels = {}, const char* suffix = "") {
        text_ += name_ + suffix;
        if (!labels.empty()) text_ += '{' + labels + '}';
        text_ += ' ' + net::number_text(value, 15) + '\n';
    }
    void single(const char* name, const char* type, const char* help, double of) {
        head(name, type, help);
        value(of);
    }
    void histogram(const char* name, const char* help, const robot::LatencyHistogram& of) {
        head(name, "histogram", help);
        std::uint64_t up_to = 0;
        // First: what is recorded meanwhile must not make a class larger than the total.
        const std::uint64_t total = of.total();
        for (std::size_t i = 0; i < robot::LatencyHistogram::kSeconds.size(); ++i) {
            up_to += of.in_class(i);
            value(static_cast<double>(std::min(up_to, total)),
                  "le=\"" + net::number_text(robot::LatencyHistogram::kSeconds[i], 6) + '"', "_bucket");
        }
        value(static_cast<double>(total), "le=\"+Inf\"", "_bucket");
        value(of.sum_seconds(), {}, "_sum");
        value(static_cast<double>(total), {}, "_count");
    }
    std::string take() { return std::move(text_); }

private:
    std::string name_, text_;
};

std::string label(const char* key, const std::string& value) {
    std::string escaped;
    for (const char c : value) {
        if (c == '\\' || c == '"') escaped += '\\';
        if (c == '\n') escaped += "\\n";
        else escaped += c;
    }
    return std::string(key) + "=\"" + escaped + '"';
}

std::string labels_of(const robot::SourceReport& source) {
    constexpr const char* kinds[] = {"camera", "proprio", "slot"};
    return std::string("kind=\"") + kinds[static_cast<int>(source.kind)] + "\"," + label("source", source.name);
}

}  // namespace

std::string metrics_text(const robot::StatCounters& stats, const std::vector<robot::SourceReport>& sources,
                         std::uint64_t copied_observations, const std::optional<robot::Control::Holder>& controller,
                         const imaging::WantPool& pictures) {
    Text text;
    const auto per_source = [&](const char* name, const char* type, const char* help,
                                const std::function<double(const robot::SourceReport&)>& of) {
        if (sources.empty()) return;
        text.head(name, type, help);
        for (const robot::SourceReport& source : sources) text.value(of(source), labels_of(source));
    };
    per_source("source_samples_total", "counter", "Images or samples published.",
               [](const robot::SourceReport& s) { return static_cast<double>(s.sequence); });
    per_source("source_rate_hz", "gauge", "Images or samples a second since the previous look at these figures.",
               [](const robot::SourceReport& s) { return s.hz; });
    per_source("source_age_seconds", "gauge", "Time since the newest one was captured; -1 before the first.",
               [](const robot::SourceReport& s) { return s.age; });
    per_source("source_missed_total", "counter", "Images or samples that the client in control was not shown.",
               [](const robot::SourceReport& s) { return static_cast<double>(s.missed); });
    per_source("source_ahead_total", "counter", "Images or samples seen that were captured after they were published.",
               [](const robot::SourceReport& s) { return static_cast<double>(s.ahead); });
    if (!sources.empty()) text.head("source_status", "gauge", "1 for the status that a source has.");
    for (const robot::SourceReport& source : sources)
        for (const SourceStatus status :
             {SourceStatus::never, SourceStatus::fresh, SourceStatus::stale, SourceStatus::frozen, SourceStatus::ahead})
            text.value(source.status == status, labels_of(source) + ",status=\"" + to_string(status) + '"');

    const auto total = [&](const char* name, const char* help, const std::atomic<std::uint64_t>& counter) {
        text.single(name, "counter", help, static_cast<double>(counter.load(std::memory_order_relaxed)));
    };
    text.single("clients", "gauge", "Clients in control: 0 or 1.", stats.clients.load(std::memory_order_relaxed));
    text.head("control_seconds", "gauge", "For how long the client in control has been it; nobody: no line.");
    if (controller)
        text.value(std::chrono::duration<double>(Clock::now() - controller->since).count(), label("peer", controller->peer));
    text.head("last_objection", "gauge",
              "1 for why the gate, or the time in the queue, last kept an action as it was from the robot.");
    if (const std::string objection = stats.last_objection.get(); !objection.empty())
        text.value(1, label("reason", objection));
    text.single("observers", "gauge", "Observers.", stats.observing.load(std::memory_order_relaxed));
    total("connections_total", "Clients that were given control.", stats.connections);
    total("observer_connections_total", "Observers that were let in.", stats.observers);
    total("refused_connections_total", "Connections turned away.", stats.refused);
    total("half_open_connections_total", "Clients dropped because their machine acknowledged nothing any more.",
          stats.half_open);
    total("observations_total", "Observations sent, to all.", stats.observations);
    text.single("copied_observations_total", "counter", "Observations for which pixels had to be copied.",
                static_cast<double>(copied_observations));
    text.single("pictures_made_total", "counter", "Pictures and depth maps that were made for clients that want something.",
                static_cast<double>(pictures.made()));
    text.single("kept_picture_bytes", "gauge", "Bytes of them that are kept for others who want the same.",
                static_cast<double>(pictures.kept_bytes()));
    total("sent_bytes_total", "Bytes of answers sent, to all.", stats.bytes_sent);
    total("actions_received_total", "Well-formed actions.", stats.actions_received);
    total("actions_applied_total", "Actions whose hook has returned.", stats.actions_applied);
    total("actions_rejected_total", "Actions that the gate rejected.", stats.actions_rejected);
    total("actions_clamped_total", "Actions that the gate changed.", stats.actions_clamped);
    total("actions_dropped_total", "Actions whose client lost control before their turn.", stats.actions_dropped);
    total("actions_late_total", "Actions that had waited too long when their turn came.", stats.actions_late);
    total("action_timeouts_total", "Times that no action came for too long.", stats.action_timeouts);
    total("protocol_errors_total", "Malformed messages and handshakes.", stats.protocol_errors);
    total("hook_errors_total", "Exceptions that left a hook.", stats.hook_errors);
    total("update_errors_total", "Updates of sources that were refused.", stats.update_errors);
    text.single("round_trip_seconds", "gauge", "Smoothed round trip to the client in control, as TCP measures it.",
                1e-6 * static_cast<double>(stats.round_trip_us.load(std::memory_order_relaxed)));
    text.histogram("action_latency_seconds", "From the arrival of an action to the call of its hook.", stats.action_latency);
    text.histogram("answer_latency_seconds", "From a request of the client in control to the end of its answer's write.",
                   stats.answer_latency);
    return text.take();
}

}  // namespace chiral::http
