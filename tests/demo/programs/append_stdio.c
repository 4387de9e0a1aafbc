/* Append rows with C's stdio. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    static char pad[20001];
    if (argc != 4)
        return 2;
    int me = atoi(argv[2]), rows = atoi(argv[3]);
    FILE *file = fopen(argv[1], "a");
    if (!file) {
        perror(argv[1]);
        return 1;
    }
    for (int row = 0; row < rows; row++) {
        int length = 10000 + (row * 977 + me * 131) % 10000;
        memset(pad, 'a' + me, length);
        pad[length] = 0;
        if (fprintf(file, "%d %d %s %d\n", me, row, pad, row) < 0) {
            perror(argv[1]);
            return 1;
        }
    }
    if (fclose(file)) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
