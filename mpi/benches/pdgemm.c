/* C = A * B by ScaLAPACK's pdgemm, for mpi/benches/pdgemm.py.
 *
 *     mpirun -np 2 pdgemm SIZE REPEAT BLOCK ROWS COLUMNS
 *
 * The processes form a grid of ROWS x COLUMNS, and matrices lie on it in blocks of BLOCK x BLOCK.
 * Elements are small integers, so C is exact and has the same check as in
 * mpi/examples/matmul_cluster.rs. Prints the seconds of each product after a first one, and the
 * check. */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

void Cblacs_pinfo(int *, int *);
void Cblacs_get(int, int, int *);
void Cblacs_gridinit(int *, const char *, int, int);
void Cblacs_gridinfo(int, int *, int *, int *, int *);
void Cblacs_gridexit(int);
int numroc_(const int *, const int *, const int *, const int *, const int *);
void descinit_(int *, const int *, const int *, const int *, const int *, const int *, const int *,
               const int *, const int *, int *);
void pdgemm_(const char *, const char *, const int *, const int *, const int *, const double *,
             const double *, const int *, const int *, const int *, const double *, const int *,
             const int *, const int *, const double *, double *, const int *, const int *,
             const int *);

/* The index in the whole matrix of a local index. */
static long whole(long local, int block, int at, int count) {
    return (local / block * count + at) * block + local % block;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (argc != 6) {
        fprintf(stderr, "usage: pdgemm SIZE REPEAT BLOCK ROWS COLUMNS\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int n = atoi(argv[1]), repeat = atoi(argv[2]), block = atoi(argv[3]);
    int rows = atoi(argv[4]), columns = atoi(argv[5]);
    int rank, ranks, grid, row, column, zero = 0, one = 1, info;
    Cblacs_pinfo(&rank, &ranks);
    Cblacs_get(-1, 0, &grid);
    Cblacs_gridinit(&grid, "Row", rows, columns);
    Cblacs_gridinfo(grid, &rows, &columns, &row, &column);
    int height = numroc_(&n, &block, &row, &zero, &rows);
    int width = numroc_(&n, &block, &column, &zero, &columns);
    int leading = height > 0 ? height : 1, desc[9];
    descinit_(desc, &n, &n, &block, &block, &zero, &zero, &grid, &leading, &info);
    size_t bytes = (size_t)leading * (width > 0 ? width : 1) * sizeof(double);
    double *a = malloc(bytes), *b = malloc(bytes), *c = malloc(bytes);
    if (info != 0 || a == NULL || b == NULL || c == NULL) {
        fprintf(stderr, "pdgemm: descinit says %d, or no memory\n", info);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (long lj = 0; lj < width; lj++) {
        for (long li = 0; li < height; li++) {
            long i = whole(li, block, row, rows), j = whole(lj, block, column, columns);
            a[lj * leading + li] = (double)((i * 131 + j * 71) % 17 - 8);
            b[lj * leading + li] = (double)((i * 37 + j * 113) % 19 - 9);
            c[lj * leading + li] = 0;
        }
    }
    double alpha = 1, beta = 0;
    for (int at = 0; at <= repeat; at++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double since = MPI_Wtime();
        pdgemm_("N", "N", &n, &n, &n, &alpha, a, &one, &one, desc, b, &one, &one, desc, &beta, c,
                &one, &one, desc);
        MPI_Barrier(MPI_COMM_WORLD);
        if (rank == 0 && at > 0)
            printf("seconds %.6f\n", MPI_Wtime() - since);
    }
    uint64_t own = 0, check = 0;
    for (long lj = 0; lj < width; lj++)
        for (long li = 0; li < height; li++) {
            uint64_t i = whole(li, block, row, rows), j = whole(lj, block, column, columns);
            uint64_t weight = (i * (uint64_t)n + j) * 2654435761u + 1;
            own += (uint64_t)(int64_t)c[lj * leading + li] * weight;
        }
    MPI_Reduce(&own, &check, 1, MPI_UINT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("check %llu\n", (unsigned long long)check);
    free(a);
    free(b);
    free(c);
    Cblacs_gridexit(grid);
    MPI_Finalize();
    return 0;
}
