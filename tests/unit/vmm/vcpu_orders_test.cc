#include "vmm/vcpu_orders.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace hull::vmm {
namespace {

bool wait_until(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!done() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return done();
}

TEST(VcpuOrders, EachOrderIsAcknowledgedByAll) {
  const auto orders = std::move(*VcpuOrders::create());
  orders->set_threads(3);
  std::atomic<int> running{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      uint64_t seen = 0;
      while (orders->next(seen, false) == VcpuOrder::kRun) {
        ++running;
        while (!orders->changed(seen)) std::this_thread::yield();
        --running;
      }
    });
  EXPECT_TRUE(wait_until([&] { return orders->obeyed(); })) << "they begin paused";
  for (int round = 0; round < 100; ++round) {
    orders->give(VcpuOrder::kRun);
    EXPECT_TRUE(wait_until([&] { return orders->obeyed() && running == 3; }));
    orders->give(VcpuOrder::kPause);
    EXPECT_TRUE(wait_until([&] { return orders->obeyed(); }));
    EXPECT_TRUE(orders->obeyed_event().consume());
    EXPECT_EQ(running, 0);
  }
  orders->give(VcpuOrder::kEnd);
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(orders->obeyed());
}

TEST(VcpuOrders, AfterTheEndOfTheGuestRunIsNoReasonToGoOn) {
  const auto orders = std::move(*VcpuOrders::create());
  orders->set_threads(1);
  orders->give(VcpuOrder::kRun);
  std::atomic<bool> returned{false};
  std::thread thread([&] {
    uint64_t seen = 0;
    EXPECT_EQ(orders->next(seen, true), VcpuOrder::kEnd);
    returned = true;
  });
  EXPECT_TRUE(wait_until([&] { return orders->obeyed(); }));
  EXPECT_FALSE(returned);
  orders->give(VcpuOrder::kEnd);
  thread.join();
}

TEST(VcpuOrders, WithoutThreadsAllIsObeyedAtOnce) {
  const auto orders = std::move(*VcpuOrders::create());
  orders->give(VcpuOrder::kEnd);
  EXPECT_TRUE(orders->obeyed());
  EXPECT_TRUE(orders->obeyed_event().consume());
}

}  // namespace
}  // namespace hull::vmm
