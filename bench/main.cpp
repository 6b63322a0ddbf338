// SPDX-License-Identifier: Apache-2.0
// chiral-bench: measures, and writes what it has measured as JSON or prints it. bench/run calls it and makes tables and plots of that.
#include "age.hpp"
#include "command_line.hpp"
#include "contention.hpp"
#include "end_to_end.hpp"
#include "machine.hpp"

#include <CLI/CLI.hpp>

#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <vector>

using namespace chiral::bench;

namespace {

Json machine() {
    const chiral::stress::Machine machine = chiral::stress::this_machine();
    double load = 0;
    ::getloadavg(&load, 1);
    return {{"load_average_before", load},  {"cpu", machine.cpu},     {"cores", machine.cores},  {"kernel", machine.kernel},
            {"compiler", machine.compiler}, {"build", machine.build}, {"commit", machine.commit}};
}

}  // namespace

int main(int argc, char** argv) try {
    CLI::App app("Measures the engine and the server beside other designs and the physical floor. bench/run calls it.",
                 "chiral-bench");
    app.footer(chiral::tools::exit_codes);
    std::string json;
    std::string only;
    bool quick = false, tiny = false;
    app.add_option("--json", json, "where to write the results; without it they are printed");
    app.add_flag("--quick", quick, "about a minute");
    app.add_flag("--tiny", tiny, "a few seconds: shows that it works, the numbers mean nothing")->excludes("--quick");
    app.add_option("--only", only, "one part, whose figures are printed: for a look, or a profiler")
        ->check(CLI::IsMember({"observations", "actions", "ages", "hold_up", "contention", "zenoh"}));
    if (const auto over = chiral::tools::parse_command_line(app, argc, argv)) return *over;

    const Effort effort = tiny ? Effort::tiny : quick ? Effort::quick : Effort::full;
    const Plan plan = plan_for(effort);
    Json result;
    result["effort"] = tiny ? "tiny" : quick ? "quick" : "full";
    result["machine"] = machine();
    Json& rows = result["rows"] = Json::array();
    {
        struct Part {
            const char* name;
            double (*work)(const Plan&);
            void (*measure)(const Plan&, ProgressLine&, Json&);
        };
        // The first two fork, so they come while there is no other thread.
        std::vector<Part> parts{{"observations", observations_work, measure_observations},
                                {"actions", actions_work, measure_actions_and_ages},
                                {"ages", ages_work, measure_ages},
                                {"hold_up", hold_up_work, measure_hold_up},
                                {"contention", contention_work, measure_contention}};
#ifdef CHIRAL_ZENOH
        parts.push_back({"zenoh", zenoh_work, measure_zenoh});  // last: its threads stay
#endif
        if (!only.empty()) std::erase_if(parts, [&](const Part& part) { return part.name != only; });
        double work = 0;
        for (const Part& part : parts) work += part.work(plan);
        ProgressLine progress(work);
        for (const Part& part : parts) part.measure(plan, progress, rows);
    }
    if (json.empty() || !only.empty())
        for (const Json& row : rows) std::cout << text_of(row) << '\n';
    if (json.empty()) return chiral::tools::kOk;
    std::ofstream file(json);
    file << result.dump(1) << '\n';
    file.close();
    if (!file) throw std::runtime_error("cannot write " + json);
    return chiral::tools::kOk;
} catch (const std::exception& error) {
    std::cerr << "chiral-bench: " << error.what() << '\n';
    return chiral::tools::kFailed;
}
