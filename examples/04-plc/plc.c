/*
 * A small PLC: a boiler with a heater, on Modbus TCP, by libmodbus. It shares no line with Skerry's Modbus driver,
 * so what it holds after a test or the demo is an independent witness.
 *
 *   usage: plc PORT [STATE_FILE]        PORT 0 takes any free one; the first line on stdout says which
 *          plc read PORT REGISTER       asks a running one, over Modbus, and prints the register as a signed number
 *
 * Holding registers (counted from 0):
 *   0-1  temperature, float32, words swapped (CDAB), read-only in spirit: the plant writes it
 *   2    setpoint, int16, tenths of a degree
 *   3    cycles of the heater, uint16
 *   4-5  running time, uint32 seconds
 *   10   writes accepted so far, uint16
 * Coil 0: heater on (the plant's answer). Coil 1: fan (a command).
 *
 * The plant moves once a second: the heater is on below the setpoint, the temperature follows. With a STATE_FILE,
 * the setpoint and the fan survive a restart, as in a PLC with retentive memory.
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

enum { TEMPERATURE = 0, SETPOINT = 2, CYCLES = 3, RUNNING = 4, WRITES = 10, REGISTERS = 64, COILS = 16 };
enum { HEATER = 0, FAN = 1, CONNECTIONS_MAX = 16 };

static volatile sig_atomic_t stopped = 0;

static void stop(int signal_number) {
    (void)signal_number;
    stopped = 1;
}

static void keep(const char *path, const modbus_mapping_t *map) {
    if (path == NULL) return;
    char next[4096];
    if (snprintf(next, sizeof next, "%s.new", path) >= (int)sizeof next) return;
    FILE *file = fopen(next, "w");
    if (file == NULL) return;
    fprintf(file, "%d %d\n", map->tab_registers[SETPOINT], map->tab_bits[FAN]);
    if (fclose(file) == 0) rename(next, path);
}

static void recall(const char *path, modbus_mapping_t *map) {
    int setpoint = 200, fan = 0;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file != NULL) {
        if (fscanf(file, "%d %d", &setpoint, &fan) != 2) setpoint = 200, fan = 0;
        fclose(file);
    }
    map->tab_registers[SETPOINT] = (uint16_t)setpoint;
    map->tab_bits[FAN] = fan != 0;
}

/* One second of the plant. */
static void move(modbus_mapping_t *map, float *celsius, uint32_t seconds) {
    float setpoint = (int16_t)map->tab_registers[SETPOINT] / 10.0f;
    int on = *celsius < setpoint;
    if (on && !map->tab_bits[HEATER]) map->tab_registers[CYCLES]++;
    map->tab_bits[HEATER] = (uint8_t)on;
    *celsius += on ? 0.25f : -0.125f;
    if (map->tab_bits[FAN]) *celsius -= 0.0625f;
    uint32_t bits;
    memcpy(&bits, celsius, sizeof bits);
    map->tab_registers[TEMPERATURE] = (uint16_t)(bits & 0xFFFF);
    map->tab_registers[TEMPERATURE + 1] = (uint16_t)(bits >> 16);
    map->tab_registers[RUNNING] = (uint16_t)(seconds >> 16);
    map->tab_registers[RUNNING + 1] = (uint16_t)(seconds & 0xFFFF);
}

static int is_write(const uint8_t *request, int header_length) {
    int function = request[header_length];
    return function == 5 || function == 6 || function == 15 || function == 16 || function == 22 || function == 23;
}

static int listening_port(int listener) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    return getsockname(listener, (struct sockaddr *)&address, &length) == 0 ? ntohs(address.sin_port) : -1;
}

static int read_register(int port, int number) {
    modbus_t *bus = modbus_new_tcp("127.0.0.1", port);
    uint16_t value = 0;
    if (bus == NULL || modbus_set_slave(bus, 1) < 0 || modbus_connect(bus) < 0 ||
        modbus_read_registers(bus, number, 1, &value) != 1) {
        fprintf(stderr, "cannot read register %d at port %d: %s\n", number, port, modbus_strerror(errno));
        modbus_free(bus);
        return 1;
    }
    printf("%d\n", (int16_t)value);
    modbus_close(bus);
    modbus_free(bus);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "read") == 0) return read_register(atoi(argv[2]), atoi(argv[3]));
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s PORT [STATE_FILE] | read PORT REGISTER\n", argv[0]);
        return 2;
    }
    const char *state = argc == 3 ? argv[2] : NULL;
    modbus_t *bus = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    modbus_mapping_t *map = modbus_mapping_new(COILS, COILS, REGISTERS, REGISTERS);
    if (bus == NULL || map == NULL) return 1;
    recall(state, map);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);

    int listener = modbus_tcp_listen(bus, CONNECTIONS_MAX);
    if (listener < 0) {
        fprintf(stderr, "cannot listen on port %s: %s\n", argv[1], modbus_strerror(errno));
        return 1;
    }
    printf("plc listening on 127.0.0.1:%d\n", listening_port(listener));
    fflush(stdout);

    int header_length = modbus_get_header_length(bus), highest = listener;
    float celsius = 19.5f;
    time_t begun = time(NULL), moved = 0;
    fd_set known;
    FD_ZERO(&known);
    FD_SET(listener, &known);
    while (!stopped) {
        time_t now = time(NULL);
        if (now != moved) {
            move(map, &celsius, (uint32_t)(now - begun));
            moved = now;
        }
        fd_set ready = known;
        struct timeval wait = {.tv_sec = 0, .tv_usec = 200000};
        if (select(highest + 1, &ready, NULL, NULL, &wait) <= 0) continue;
        for (int fd = 0; fd <= highest; fd++) {
            if (!FD_ISSET(fd, &ready)) continue;
            if (fd == listener) {
                int accepted = accept(listener, NULL, NULL);
                if (accepted < 0) continue;
                if (accepted >= FD_SETSIZE) {
                    close(accepted);
                    continue;
                }
                FD_SET(accepted, &known);
                if (accepted > highest) highest = accepted;
                continue;
            }
            uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
            modbus_set_socket(bus, fd);
            int length = modbus_receive(bus, request);
            if (length > 0) {
                if (is_write(request, header_length)) map->tab_registers[WRITES]++;
                modbus_reply(bus, request, length, map);
                if (is_write(request, header_length)) keep(state, map);
            } else if (length < 0) {
                close(fd);
                FD_CLR(fd, &known);
            }
        }
    }
    close(listener);
    modbus_mapping_free(map);
    modbus_free(bus);
    return 0;
}
