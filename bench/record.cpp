// SPDX-License-Identifier: Apache-2.0
#include "record.hpp"

#include <fmt/format.h>

namespace chiral::bench {
namespace {

Json tail(const Values& sorted, double q) {
    if ((1 - q) * static_cast<double>(sorted.size()) < 1) return nullptr;
    return quantile(sorted, q);
}

// One per repetition, null where it has too few samples.
Json of_repetitions(const Values& values) {
    Json all = Json::array();
    for (const float value : values) all.push_back(value > 0 ? Json(value) : Json(nullptr));
    return all;
}

}  // namespace

Json summarise(SampleSet&& set) {
    std::sort(set.single.begin(), set.single.end());
    std::sort(set.batched.begin(), set.batched.end());
    std::sort(set.preempted.begin(), set.preempted.end());
    const Values& single = set.single;
    Json row;
    row["samples"] = single.size();
    row["p50_ns"] = set.typical().empty() ? Json(nullptr) : Json(quantile(set.typical(), 0.5));
    row["p99_ns"] = tail(single, 0.99);
    row["p999_ns"] = tail(single, 0.999);
    row["max_ns"] = single.empty() ? Json(nullptr) : Json(set.longest);
    row["p999_of_repetitions_ns"] = of_repetitions(set.repetition_p999);
    row["p50_of_repetitions_ns"] = of_repetitions(set.repetition_p50);
    row["calls"] = set.calls;
    row["slept"] = set.slept;
    row["slept_and_preempted"] = set.slept_and_preempted;
    row["preempted_batches"] = set.preempted_batches;
    row["failed"] = set.failed;
    row["preempted"] = {{"calls", set.preempted_calls},
                        {"samples", set.preempted.size()},
                        {"p50_ns", set.preempted.empty() ? Json(nullptr) : Json(quantile(set.preempted, 0.5))},
                        {"max_ns", set.preempted.empty() ? Json(nullptr) : Json(set.preempted.back())}};
    return row;
}

Json summarise(Values values) {
    std::sort(values.begin(), values.end());
    Json row;
    row["samples"] = values.size();
    row["p50_ns"] = values.empty() ? Json(nullptr) : Json(quantile(values, 0.5));
    row["p99_ns"] = tail(values, 0.99);
    row["p999_ns"] = tail(values, 0.999);
    row["max_ns"] = values.empty() ? Json(nullptr) : Json(values.back());
    return row;
}

std::string text_of(const Json& row) {
    std::string text = row.at("experiment").get<std::string>();
    for (const char* key : {"observation", "way", "comparator", "pace", "load", "role", "asks_for"})
        if (row.contains(key)) text += fmt::format(", {}", row[key].get<std::string>());
    if (row.contains("bytes")) text += fmt::format(", {} bytes", row["bytes"].get<std::size_t>());
    if (row.contains("readers")) text += fmt::format(", readers: {}", row["readers"].get<int>());
    struct Figure {
        const char* key;
        const char* name;
        double microseconds;
    };
    const char* before = "; ";
    for (const Figure& figure :
         {Figure{"p50_ns", "p50", 1e-3}, Figure{"p99_ns", "p99", 1e-3},
          Figure{"longest_update_p50_ns", "longest update p50", 1e-3}, Figure{"longest_update_max_ns", "max", 1e-3},
          Figure{"cpu_us", "CPU", 1}, Figure{"outside_calls_us", "outside of calls", 1}}) {
        if (!row.contains(figure.key)) continue;
        const Json& value = row[figure.key];
        text += fmt::format("{}{} {}", before, figure.name,
                            value.is_null() ? "-" : fmt::format("{:.2f} us", value.get<double>() * figure.microseconds));
        before = ", ";
    }
    return text;
}

}  // namespace chiral::bench
