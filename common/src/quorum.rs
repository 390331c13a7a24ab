//! The quorum rule, pure. Facts: go-stablenet and current go-wbft need N - floor((N-1)/3) equal votes, older go-wbft ceil(2N/3).
