/*
 * Modbus by libmodbus, which shares no line with Skerry.
 *
 *   usage: libmodbus slave rtu PATH BAUD PARITY UNIT      register n of both tables holds 1000 + n, coil n is n % 3 == 0
 *          libmodbus slave tcp PORT
 *          libmodbus master rtu PATH BAUD PARITY UNIT     reads, writes and reads again; says "ok", or what was wrong
 *          libmodbus master tcp PORT UNIT
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PLACES = 300 };

static int slave(modbus_t *line, int is_tcp) {
    modbus_mapping_t *map = modbus_mapping_new(PLACES, PLACES, PLACES, PLACES);
    if (map == NULL) return 1;
    for (int at = 0; at < PLACES; at++) {
        map->tab_registers[at] = map->tab_input_registers[at] = (uint16_t)(1000 + at);
        map->tab_bits[at] = map->tab_input_bits[at] = at % 3 == 0;
    }
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int listener = is_tcp ? modbus_tcp_listen(line, 4) : -1;
    if (is_tcp ? listener < 0 : modbus_connect(line) < 0) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        if (is_tcp && modbus_tcp_accept(line, &listener) < 0) return 1;
        for (;;) {
            int size = modbus_receive(line, query);
            if (size > 0) modbus_reply(line, query, size, map);
            else if (size < 0 && is_tcp) break;
        }
        modbus_close(line);
    }
}

static int fail(const char *what) {
    printf("%s: %s\n", what, modbus_strerror(errno));
    return 1;
}

static int master(modbus_t *line, int unit) {
    uint16_t words[125], back[4];
    uint8_t bits[20];
    modbus_set_slave(line, unit);
    modbus_set_response_timeout(line, 5, 0);
    if (modbus_connect(line) < 0) return fail("connect");
    if (modbus_read_registers(line, 0, 125, words) != 125) return fail("read holding");
    for (int at = 0; at < 125; at++)
        if (words[at] != 1000 + at) return printf("register %d holds %d\n", at, words[at]), 1;
    if (modbus_read_input_registers(line, 7, 1, words) != 1 || words[0] != 1007) return fail("read input");
    if (modbus_read_bits(line, 0, 20, bits) != 20) return fail("read coils");
    for (int at = 0; at < 20; at++)
        if (bits[at] != (at % 3 == 0)) return printf("coil %d is %d\n", at, bits[at]), 1;
    if (modbus_read_input_bits(line, 3, 1, bits) != 1 || !bits[0]) return fail("read inputs");
    if (modbus_write_register(line, 200, 77) != 1) return fail("write 6");
    uint16_t more[3] = {1, 2, 3};
    if (modbus_write_registers(line, 201, 3, more) != 3) return fail("write 16");
    if (modbus_write_bit(line, 30, 1) != 1) return fail("write 5");
    uint8_t three[3] = {1, 0, 1};
    if (modbus_write_bits(line, 31, 3, three) != 3) return fail("write 15");
    if (modbus_mask_write_register(line, 200, 0xFFF0, 0x0002) < 0) return fail("mask write");
    if (modbus_write_and_read_registers(line, 210, 1, more, 200, 4, back) != 4) return fail("write and read");
    if (back[0] != 66 + 0 * 77 && back[0] != ((77 & 0xFFF0) | 2)) return printf("after the mask %d\n", back[0]), 1;
    if (back[1] != 1 || back[2] != 2 || back[3] != 3) return printf("after 16: %d %d %d\n", back[1], back[2], back[3]), 1;
    if (modbus_read_bits(line, 30, 4, bits) != 4 || !bits[0] || !bits[1] || bits[2] || !bits[3]) return fail("coils");
    errno = 0;
    if (modbus_read_registers(line, 65000, 1, words) != -1 || errno != EMBXILADD) return fail("no exception 2");
    printf("ok\n");
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int is_tcp = strcmp(argv[2], "tcp") == 0;
    modbus_t *line = is_tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[3]))
                            : modbus_new_rtu(argv[3], atoi(argv[4]), argv[5][0], 8, 1);
    if (line == NULL) return 1;
    int unit = atoi(is_tcp ? (argc > 4 ? argv[4] : "1") : argv[6]);
    if (strcmp(argv[1], "master") == 0) return master(line, unit);
    if (!is_tcp) modbus_set_slave(line, unit);
    return slave(line, is_tcp);
}
