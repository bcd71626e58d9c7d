// A virtio device, an interrupt and a line that only record what happens to them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>

#include "devices/interrupt_line.h"
#include "virtio/device.h"
#include "virtio/frontend.h"

namespace hull::testing {

class FakeLine : public devices::InterruptLine {
 public:
  void trigger() override { edges.fetch_add(1); }
  std::atomic<unsigned> edges{0};
};

class FakeInterrupt : public virtio::DeviceInterrupt {
 public:
  void used_buffers(size_t) override { used.fetch_add(1); }
  void config_changed() override { config.fetch_add(1); }
  void device_failed() override { failures.fetch_add(1); }
  void wait_for_failure() const {
    while (failures.load() == 0) std::this_thread::yield();
  }
  std::atomic<unsigned> used{0};
  std::atomic<unsigned> config{0};
  std::atomic<unsigned> failures{0};
};

class FakeDevice : public virtio::VirtioDevice {
 public:
  std::string_view name() const override { return "fake"; }
  virtio::DeviceType type() const override { return virtio::DeviceType{2}; }
  virtio::FeatureSet device_features() const override { return virtio::FeatureSet(0x21); }
  std::span<const uint16_t> queue_max_sizes() const override { return sizes_; }
  void read_config(uint64_t offset, std::span<uint8_t> data) const override {
    virtio::read_config_bytes(config, offset, data);
  }
  void write_config(uint64_t offset, std::span<const uint8_t> data) override {
    for (size_t i = 0; i < data.size() && offset + i < config.size(); ++i)
      config[offset + i] = data[i];
  }
  Result<void> activate(virtio::DeviceResources given) override {
    ++activations;
    if (refuse) return fail(ErrorKind::kHost, "no back end");
    resources.emplace(std::move(given));
    return {};
  }
  void stop(std::function<void()> stopped) override {
    ++stops;
    if (on_stop) on_stop();
    when_stopped_ = std::move(stopped);
    if (!holds_back) finish_stop();
  }
  void abandon() override { ++abandoned; }
  void pause(std::function<void()> paused) override {
    ++pauses;
    paused();
  }
  void resume() override { ++resumes; }
  std::vector<std::optional<virtio::QueuePosition>> queue_positions() const override {
    std::vector<std::optional<virtio::QueuePosition>> positions;
    for (const auto& queue : resources->queues)
      positions.push_back(queue ? std::optional(queue->queue.position()) : std::nullopt);
    return positions;
  }
  // What a back end with requests in flight does later.
  void finish_stop() {
    resources.reset();
    when_stopped_();
  }

  bool refuse = false;
  unsigned activations = 0;
  unsigned stops = 0;
  unsigned abandoned = 0;
  unsigned pauses = 0;
  unsigned resumes = 0;
  bool holds_back = false;  // stop() leaves the end to finish_stop()
  std::function<void()> on_stop;
  std::optional<virtio::DeviceResources> resources;
  std::vector<uint8_t> config = {1, 2, 3, 4, 5, 6, 7, 8};

 private:
  const std::vector<uint16_t> sizes_ = {8, 16};
  std::function<void()> when_stopped_;
};

inline void stop_and_wait(virtio::VirtioDevice& device) {
  std::binary_semaphore stopped(0);
  device.stop([&] { stopped.release(); });
  stopped.acquire();
}

inline void pause_and_wait(virtio::Frontend& frontend) {
  std::binary_semaphore paused(0);
  frontend.pause([&] { paused.release(); });
  paused.acquire();
}

}  // namespace hull::testing
