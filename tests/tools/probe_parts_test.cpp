// SPDX-License-Identifier: Apache-2.0
// What the probe makes of the observations that it gets.
#include "probe_report.hpp"
#include "probe_statistics.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace chiral::tools {
namespace {

Observation observation(double snapshot_time, std::uint64_t sequence, double captured, std::uint64_t missed,
                        SourceStatus status = SourceStatus::fresh) {
    Observation obs;
    obs.snapshot_time = snapshot_time;
    CameraInfo camera;
    camera.name = "cam";
    camera.image_shape = {2, 4, 3};
    camera.image_dtype = "uint8";
    camera.image = std::vector<std::uint8_t>(24);
    camera.sequence = sequence;
    camera.timestamp = captured;
    camera.missed = missed;
    camera.status = status;
    obs.cameras.push_back(std::move(camera));
    return obs;
}

TEST(Quantiles, are_nearest_ranks) {
    EXPECT_FALSE(quantiles_of({}));
    const auto one = quantiles_of({3.0});
    ASSERT_TRUE(one);
    EXPECT_EQ(one->min, 3.0);
    EXPECT_EQ(one->p99, 3.0);
    std::vector<double> values;
    for (int i = 100; i >= 1; --i) values.push_back(i);
    const auto hundred = quantiles_of(values);
    EXPECT_EQ(hundred->min, 1.0);
    EXPECT_EQ(hundred->p50, 50.0);
    EXPECT_EQ(hundred->p90, 90.0);
    EXPECT_EQ(hundred->p99, 99.0);
    EXPECT_EQ(hundred->max, 100.0);
    EXPECT_EQ(hundred->mean, 50.5);
}

TEST(ProbeStatistics, tells_the_rate_from_sequences_and_capture_times) {
    ProbeStatistics statistics;
    // 30 Hz, looked at every 0.1 s: three frames further each time, two of them missed.
    for (int i = 0; i < 11; ++i)
        statistics.add(observation(100.0 + 0.1 * i + 0.01, 50 + 3 * static_cast<std::uint64_t>(i), 100.0 + 0.1 * i, 2),
                       0.004);
    const SourceTrack& camera = statistics.cameras().at(0);
    EXPECT_NEAR(camera.rate().value(), 30.0, 1e-6);
    EXPECT_EQ(camera.first_sequence(), 50U);
    EXPECT_EQ(camera.last_sequence(), 80U);
    EXPECT_EQ(camera.seen(), 11U);
    EXPECT_EQ(camera.missed(), 20U) << "not counting what was missed before the first look";
    EXPECT_NEAR(camera.age()->p50, 0.01, 1e-6);
    EXPECT_EQ(camera.observations(SourceStatus::fresh), 11U);
}

TEST(ProbeStatistics, counts_the_silence_of_a_source_that_stopped) {
    ProbeStatistics statistics;
    for (int i = 0; i < 10; ++i)
        statistics.add(observation(10.0 + 0.1 * i, 1 + static_cast<std::uint64_t>(i), 10.0 + 0.1 * i, 0), 0.004);
    statistics.add(observation(20.0, 10, 10.9, 0, SourceStatus::stale), 0.004);
    EXPECT_NEAR(statistics.cameras()[0].rate().value(), 0.9, 1e-6);
    EXPECT_EQ(statistics.cameras()[0].status(), SourceStatus::stale);
}

TEST(ProbeStatistics, does_not_guess_a_rate_from_one_frame) {
    ProbeStatistics statistics;
    statistics.add(observation(10.0, 5, 9.99, 0), 0.004);
    statistics.add(observation(10.001, 5, 9.99, 0), 0.004);
    EXPECT_FALSE(statistics.cameras()[0].rate());
    EXPECT_EQ(statistics.cameras()[0].seen(), 1U);
}

TEST(ProbeReport, shows_dashes_and_nulls_for_what_a_server_does_not_send) {
    ProbeResult result;
    result.last = observation(0.0, 0, 12.0, 0, SourceStatus::never);
    result.statistics.add(result.last, 0.004);
    result.seconds = 0.01;
    const std::string text = summary(result);
    EXPECT_NE(text.find("does not send it"), std::string::npos) << text;
    EXPECT_EQ(text.find("never"), std::string::npos) << text;
    const auto json = nlohmann::json::parse(to_json(result));
    EXPECT_TRUE(json.at("cameras").at(0).at("rate_hz").is_null());
    EXPECT_TRUE(json.at("cameras").at(0).at("status").is_null());
    EXPECT_EQ(json.at("cameras").at(0).at("image_shape"), nlohmann::json({2, 4, 3}));
    EXPECT_EQ(json.at("round_trip_ms").at("p50"), 4.0);
}

TEST(ProbeReport, can_tell_of_a_run_without_any_observation) {
    ProbeResult result;
    result.error = "connection refused";
    EXPECT_NE(summary(result).find("observations  0"), std::string::npos);
    const auto json = nlohmann::json::parse(to_json(result));
    EXPECT_EQ(json.at("observations"), 0);
    EXPECT_EQ(json.at("error"), "connection refused");
    EXPECT_TRUE(json.at("round_trip_ms").is_null());
}

TEST(ProbeReport, lets_no_control_character_of_a_server_reach_the_terminal) {
    EXPECT_EQ(printable("a\x1b[2Jb\n\x7f"), "a?[2Jb??");
    EXPECT_EQ(printable("gr\xc3\xbc\xc3\x9f"
                        "e"),
              "gr\xc3\xbc\xc3\x9f"
              "e");
    EXPECT_EQ(printable("x\xc2\x9b"
                        "31m"),
              "x?31m");
    EXPECT_LT(printable(std::string(5000, 'x')).size(), 300U);
    EXPECT_NE(metadata_table({{"k\x1b", "v\x1b"}}).find("k?  v?"), std::string::npos);
    // Bytes that are no UTF-8 do not stop the JSON.
    ProbeResult result;
    result.metadata = {{"k", "\xff\xfe"}};
    EXPECT_NO_THROW(to_json(result));
}

}  // namespace
}  // namespace chiral::tools
