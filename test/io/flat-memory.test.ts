import { getHeapStatistics } from "node:v8";
import t from "tap";
import { keepHeapSmall, leaveRoomToEnd } from "../../src/io/flat-memory.ts";

t.test("before the process ends, the heap is collected once where it was kept small", async (t) => {
  const used = () => getHeapStatistics().used_heap_size;
  const fill = () => {
    let dead: unknown[] | undefined = Array.from({ length: 400_000 }, (_, it) => ({ it }));
    t.equal(dead.length, 400_000);
    dead = undefined;
  };
  keepHeapSmall();
  fill();
  leaveRoomToEnd();
  const small = used();
  fill();
  const full = used();
  t.ok(full > small, "what died is still there");
  leaveRoomToEnd();
  t.ok(used() >= full, "a second call does nothing");
  keepHeapSmall();
  leaveRoomToEnd();
  t.ok(used() < full, `${used()} of ${full} bytes are left`);
});
