// SPDX-License-Identifier: Apache-2.0
// What the probe makes of the observations that it gets.
#include "probe_report.hpp"
#include "probe_statistics.hpp"
#include "save_observation.hpp"
#include "slots_in_extra.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>

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

// {"touch": {dtype, shape, data, timestamp, sequence, status}} as nlohmann writes it.
Observation with_extra(const nlohmann::ordered_json& extra, double snapshot_time = 100.0) {
    Observation obs;
    obs.snapshot_time = snapshot_time;
    nlohmann::ordered_json::to_msgpack(extra, obs.extra.encoded);
    return obs;
}
nlohmann::ordered_json slot(std::uint64_t sequence, std::vector<std::uint8_t> data = {1, 0, 2, 0, 3, 0}) {
    return {{"dtype", "int16"},  {"shape", {3, 1}},      {"data", nlohmann::json::binary(std::move(data))},
            {"timestamp", 99.5}, {"sequence", sequence}, {"status", 2}};
}

TEST(SlotsInExtra, are_those_that_say_all_of_a_slot) {
    const Observation good = with_extra({{"b", slot(7)}, {"note", "text"}, {"a", slot(8)}});
    const std::vector<SlotInfo> slots = slots_in(good.extra);
    ASSERT_EQ(slots.size(), 2U);
    EXPECT_EQ(slots[0].name, "b");
    EXPECT_EQ(slots[0].dtype, DType::int16);
    EXPECT_EQ(slots[0].shape, (std::vector<int>{3, 1}));
    EXPECT_EQ(slots[0].data, (std::vector<std::uint8_t>{1, 0, 2, 0, 3, 0}));
    EXPECT_EQ(slots[0].timestamp, 99.5);
    EXPECT_EQ(slots[0].sequence, 7U);
    EXPECT_EQ(slots[0].status, SourceStatus::stale);
    EXPECT_EQ(slots[1].name, "a");
    EXPECT_TRUE(slots_in({}).empty());

    using Json = nlohmann::ordered_json;
    const std::pair<const char*, Json> wrong[] = {{"dtype", "complex64"}, {"dtype", 3},
                                                  {"shape", {3, 2}},      {"shape", Json::array()},
                                                  {"shape", {3, -1}},     {"shape", {3, "1"}},
                                                  {"shape", {0, 3}},      {"shape", Json::array_t(65, 1)},
                                                  {"shape", "3"},         {"shape", {1U << 31, 1U << 31, 3}},
                                                  {"data", "abcdef"},     {"timestamp", "now"},
                                                  {"sequence", -1},       {"sequence", 1.5},
                                                  {"status", 5},          {"status", "stale"}};
    for (const auto& [field, value] : wrong) {
        Json lie = slot(7);
        lie[field] = value;
        EXPECT_TRUE(slots_in(with_extra({{"lie", lie}}).extra).empty()) << field << " " << value;
        Json part = slot(7);
        part.erase(field);
        EXPECT_TRUE(slots_in(with_extra({{"part", part}}).extra).empty()) << field;
    }
}

TEST(ProbeStatistics, counts_what_it_missed_of_a_slot) {
    ProbeStatistics statistics;
    for (const std::uint64_t sequence : {5U, 6U, 6U, 10U, 2U, 3U})  // 7 to 9 were missed, then the server was started again
        statistics.add(with_extra({{"touch", slot(sequence)}}), 0.004);
    ASSERT_EQ(statistics.slots().size(), 1U);
    const SourceTrack& touch = statistics.slots()[0];
    EXPECT_EQ(touch.missed(), 3U);
    EXPECT_EQ(touch.seen(), 5U);
    EXPECT_EQ(touch.observations(SourceStatus::stale), 6U);
    EXPECT_NEAR(touch.age()->max, 0.5, 1e-9);
}

TEST(SaveObservation, keeps_the_values_of_slots_of_every_type) {
    const std::pair<DType, nlohmann::json> last[] = {{DType::boolean, true},    {DType::uint8, 254},
                                                     {DType::int8, -2},         {DType::uint16, 65534},
                                                     {DType::int16, -2},        {DType::uint32, 0xfffffffeU},
                                                     {DType::int32, -2},        {DType::uint64, 0xfffffffffffffffeU},
                                                     {DType::int64, -2},        {DType::float16, nullptr},
                                                     {DType::float32, nullptr}, {DType::float64, nullptr}};
    nlohmann::ordered_json extra;
    for (const auto& [type, value] : last) {
        std::vector<std::uint8_t> data(2 * size_of(type), 0xff);  // -1, or not a number, and then all but the lowest bit
        data[size_of(type)] = 0xfe;
        extra[to_string(type)] = slot(1, std::move(data));
        extra[to_string(type)].update({{"dtype", to_string(type)}, {"shape", {1, 2}}});
    }
    extra["half"] = slot(1, {0x00, 0x3e, 0x00, 0xc0});
    extra["half"].update({{"dtype", "float16"}, {"shape", {2}}});
    const std::filesystem::path folder =
        std::filesystem::path(testing::TempDir()) / ("slots_of_every_type_" + std::to_string(getpid()));
    save_observation(with_extra(extra), folder);
    std::ifstream file(folder / "observation.json");
    const nlohmann::json saved = nlohmann::json::parse(file).at("slots");
    std::filesystem::remove_all(folder);
    ASSERT_EQ(saved.size(), std::size(last) + 1);
    for (std::size_t i = 0; i < std::size(last); ++i) {
        EXPECT_EQ(saved[i].at("name"), to_string(last[i].first));
        EXPECT_EQ(saved[i].at("values").at(0).at(1), last[i].second) << to_string(last[i].first);
    }
    EXPECT_EQ(saved.back().at("values"), nlohmann::json({1.5, -2.0}));
    EXPECT_EQ(saved.back().at("status"), "stale");
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
