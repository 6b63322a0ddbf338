// SPDX-License-Identifier: Apache-2.0
// Where threads run: pinned, so that a run does not depend on where the scheduler happens to put them, and busy cores.
//
// Writers are on core 0, readers on the others by turns: a writer that a reader holds up is then held up by the design, not
// by the scheduler having put both on one core.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

namespace chiral::bench {

/// Cores that this process may use.
const std::vector<int>& cores();
void pin_to_core(std::size_t index);  ///< the index-th of cores(), modulo their number
inline void pin_writer() { pin_to_core(0); }
inline void pin_reader(std::size_t reader) {
    const std::size_t others = cores().size() - 1;
    pin_to_core(others == 0 ? 0 : 1 + reader % others);
}
/// Lets the calling thread run anywhere again.
void unpin();

/// While it lives, every core has a thread that computes and never sleeps, at normal priority.
class BusyCores {
public:
    BusyCores();
    ~BusyCores();

private:
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

}  // namespace chiral::bench
