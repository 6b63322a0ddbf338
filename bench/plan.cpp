#include "plan.hpp"

namespace chiral::bench {

using std::chrono::milliseconds;

Plan plan_for(Effort effort) {
    constexpr auto flat_out = WriterPace::flat_out;
    constexpr auto at_rate = WriterPace::at_rate;
    Plan plan{};
    switch (effort) {
        case Effort::full:
            plan.repetitions = 33;
            for (const std::size_t bytes : {std::size_t{64}, std::size_t{4096}, std::size_t{65536}, kVgaBytes, kFullHdBytes})
                for (const int readers : {0, 1, 2, 4, 8}) {
                    const bool headline = bytes == kVgaBytes && (readers == 0 || readers == 8);
                    const bool sides = readers == 0 || readers == 1 || readers == 8;
                    if (bytes != kVgaBytes && bytes != 64 && !sides) continue;
                    plan.contention.push_back({bytes, readers, flat_out, Load::idle,
                                               milliseconds(headline ? 100 : bytes == kFullHdBytes ? 25 : 8)});
                }
            for (const std::size_t bytes : {std::size_t{64}, kVgaBytes, kFullHdBytes})
                for (const int readers : {1, 8})
                    plan.contention.push_back({bytes, readers, flat_out, Load::busy, milliseconds(20)});
            for (const Load load : {Load::idle, Load::busy})
                for (const std::size_t bytes : {std::size_t{64}, kVgaBytes})
                    for (const int readers : {1, 8})
                        plan.contention.push_back({bytes, readers, at_rate, load, milliseconds(25)});
            plan.hold_up_bytes = {64, kVgaBytes};
            plan.age_bytes = {kVgaBytes, kFullHdBytes};
            plan.age_repetition = milliseconds(50);
            plan.observations = {{"1 x 640x480 RGB-D", 1, 480, 640, true, 40},
                                 {"4 x 640x480 RGB-D", 4, 480, 640, true, 15},
                                 {"8 x 640x480 RGB-D", 8, 480, 640, true, 10},
                                 {"4 x 1920x1080 RGB", 4, 1080, 1920, false, 5}};
            plan.actions = 2000;
            break;
        case Effort::quick:
            plan.repetitions = 33;
            for (const std::size_t bytes : {std::size_t{64}, kVgaBytes})
                for (const int readers : {0, 1, 8})
                    plan.contention.push_back({bytes, readers, flat_out, Load::idle,
                                               milliseconds(bytes == kVgaBytes && readers != 1 ? 12 : 4)});
            plan.contention.push_back({kVgaBytes, 8, at_rate, Load::busy, milliseconds(12)});
            plan.hold_up_bytes = {kVgaBytes};
            plan.age_bytes = {kVgaBytes};
            plan.age_repetition = milliseconds(10);
            plan.observations = {{"1 x 640x480 RGB-D", 1, 480, 640, true, 10},
                                 {"4 x 640x480 RGB-D", 4, 480, 640, true, 4},
                                 {"8 x 640x480 RGB-D", 8, 480, 640, true, 4}};
            plan.actions = 300;
            break;
        case Effort::tiny:
            plan.repetitions = 2;
            plan.contention = {{64, 1, flat_out, Load::idle, milliseconds(2)},
                               {kVgaBytes, 0, flat_out, Load::idle, milliseconds(5)},
                               {kVgaBytes, 8, flat_out, Load::idle, milliseconds(5)},
                               {64, 1, at_rate, Load::busy, milliseconds(5)}};
            plan.hold_up_bytes = {64};
            plan.age_bytes = {65536};
            plan.age_repetition = milliseconds(5);
            plan.observations = {{"1 x 640x480 RGB-D", 1, 480, 640, true, 3},
                                 {"4 x 640x480 RGB-D", 4, 480, 640, true, 3},
                                 {"8 x 640x480 RGB-D", 8, 480, 640, true, 3}};
            plan.actions = 20;
            break;
    }
    return plan;
}

}  // namespace chiral::bench
