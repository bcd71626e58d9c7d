// A virtual machine with a board and one processor, and no guest: what KVM itself can be asked.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "base/event_loop.h"
#include "tests/support/fake_lines.h"
#include "vmm/arch.h"
#include "vmm/kvm.h"

namespace hull::testing {

template <class T>
T expect_value(Result<T> result) {
  CHECK(result || (ADD_FAILURE() << result.error().message(), false));
  return *std::move(result);
}

struct BoardMachine {
  explicit BoardMachine(std::vector<uint8_t> code = {}) {
    domain.memory_bytes = memory.ram_bytes();
    EXPECT_TRUE(vm.set_memory(memory));
    board = std::make_unique<vmm::arch::Board>(vmm::arch::Board::Options{.domain = domain,
                                                                         .kvm = kvm,
                                                                         .vm = vm,
                                                                         .ports = ports,
                                                                         .events = events,
                                                                         .loop = loop,
                                                                         .debug_exit_port = false});
    EXPECT_TRUE(board->before_vcpus());
    EXPECT_TRUE(board->add_devices());
    memory.slice(GuestAddress{0}, code.size())->copy_from(code);
  }

  static GuestMemory make_memory() {
    const MemoryRegion range{GuestAddress{0}, 2 << 20};
    return expect_value(GuestMemory::create({&range, 1}));
  }

  config::DomainConfig domain;
  FakePowerEvents events;
  EventLoop loop = expect_value(EventLoop::create());
  vmm::Kvm kvm = expect_value(vmm::Kvm::open());
  GuestMemory memory = make_memory();
  vmm::Vm vm = expect_value(kvm.create_vm());
  devices::Bus ports;
  std::unique_ptr<vmm::arch::Board> board;
};

}  // namespace hull::testing
